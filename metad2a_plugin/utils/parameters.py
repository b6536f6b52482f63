"""Objects that remember the arguments that they were made with, and can be made again, as scikit-learn expects."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.utils.checks import did_you_mean

if TYPE_CHECKING:
    from typing_extensions import Self


class Parameterized:
    """`get_params`, `set_params`, and so `sklearn.base.clone`; a copy or a pickle keeps all else too.

    Parameters are the arguments of the class, those of ``**options`` included.
    """

    _parameters: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls)
        made._parameters = _bound(cls, args, kwargs)
        return made

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments by name, those left out with their defaults.

        Args:
            deep: with those of arguments that have parameters themselves, as ``argument__parameter``.
        """
        found = dict(self._parameters)
        if deep:
            for name, value in self._parameters.items():
                if hasattr(value, "get_params") and not isinstance(value, type):
                    found |= {f"{name}__{inner}": one for inner, one in value.get_params().items()}
        return found

    def set_params(self, **params: Any) -> Self:
        """Make it anew, with some arguments replaced; what it had learned is lost. Where that fails it stays as it was.

        Raises:
            ConfigError: no such argument; else what the class raises.
        """
        known = self.get_params(deep=False)
        takes_others = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(self.__init__).parameters.values())  # type: ignore[misc]
        for name in params:
            if name not in known and not takes_others:
                raise ConfigError(
                    f"{type(self).__name__} has no parameter {name!r}{did_you_mean(name, known)}; it has "
                    f"{', '.join(known)}"
                )
        if params:
            self.__dict__ = type(self)(**known | params).__dict__
        return self


def _bound(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    signature = inspect.signature(cls.__init__)  # type: ignore[misc]  # of the very class
    try:
        bound = signature.bind_partial(None, *args, **kwargs)
    except TypeError:
        return {}  # said by the class itself
    bound.apply_defaults()
    found: dict[str, Any] = {}
    for name, parameter in list(signature.parameters.items())[1:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            found |= bound.arguments.get(name, {})
        elif parameter.kind is not parameter.VAR_POSITIONAL and name in bound.arguments:
            found[name] = bound.arguments[name]
    return found
