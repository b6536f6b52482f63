"""Search spaces, strategies, predictors and more by name: the built-in ones and those of installed plug-ins.

A plug-in names its classes in the entry points of its own distribution; nothing here needs to know it::

    [project.entry-points."metad2a_plugin.strategies"]
    greedy = "my_package.greedy:Greedy"

A name that nothing has, or whose plug-in is broken, is a `ConfigError`.

>>> available("spaces")
('mobilenetv3', 'nasbench201')
>>> get_strategy("random").__name__
'RandomSearch'
>>> entry("predictors", "naswot").takes("dataset")
True
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from numbers import Integral, Real
from types import NoneType
from typing import TYPE_CHECKING, Any

from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.plugins.budget import AnyBudget, Budget, refused
from metad2a_plugin.plugins.predictor import Predictor
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.utils.checks import did_you_mean, instance

if TYPE_CHECKING:
    from metad2a_plugin.plugins.classes import EncoderClass, PredictorClass, StrategyClass

DISTRIBUTION = "metad2a-plugin"

# Strings, so that listing imports nothing and a source checkout needs no installation.
BUILT_IN: dict[str, dict[str, str]] = {
    "devices": {
        "mobilenetv3": "metad2a_plugin.devices.mobilenetv3:MobileNetV3LatencyModel",
        "nasbench201": "metad2a_plugin.devices.nasbench201:LatencyModel",
    },
    "spaces": {
        "mobilenetv3": "metad2a_plugin.spaces.mobilenetv3.space:MobileNetV3Space",
        "nasbench201": "metad2a_plugin.spaces.nasbench201.space:NASBench201",
    },
    "strategies": {
        "area": "metad2a_plugin.strategies.area:AREA",
        "darts": "metad2a_plugin.strategies.one_shot:DARTSStrategy",
        "fuse": "metad2a_plugin.strategies.fuse:FUSEStrategy",
        "local-search": "metad2a_plugin.strategies.local_search:LocalSearch",
        "lpt": "metad2a_plugin.strategies.one_shot:LPTStrategy",
        "mdenas": "metad2a_plugin.strategies.mdenas:MDENAS",
        "metad2a": "metad2a_plugin.strategies.metad2a:MetaD2AStrategy",
        "naswot": "metad2a_plugin.strategies.naswot:NASWOTStrategy",
        "ofa-evolution": "metad2a_plugin.strategies.ofa_evolution:OFAEvolution",
        "random": "metad2a_plugin.strategies.random_search:RandomSearch",
        "regularized-evolution": "metad2a_plugin.strategies.regularized_evolution:RegularizedEvolution",
        "task-similarity": "metad2a_plugin.strategies.task_similarity:TaskSimilarityStrategy",
    },
    "predictors": {
        "flops": "metad2a_plugin.predictors.cost:FlopsPredictor",
        "metad2a": "metad2a_plugin.predictors.metad2a:MetaD2APredictor",
        "naswot": "metad2a_plugin.predictors.naswot:NASWOTPredictor",
        "ofa-imagenet": "metad2a_plugin.predictors.imagenet:ImageNetPredictor",
        "params": "metad2a_plugin.predictors.cost:ParamsPredictor",
        "supernet": "metad2a_plugin.predictors.supernet:SupernetPredictor",
    },
    "encoders": {
        "default": "metad2a_plugin.data.encoders:DefaultEncoder",
        "efficientnet-lite0": "metad2a_plugin.data.imagenet:EfficientNetLite0",
        "efficientnet-lite1": "metad2a_plugin.data.imagenet:EfficientNetLite1",
        "efficientnet-lite2": "metad2a_plugin.data.imagenet:EfficientNetLite2",
        "mobilenetv2": "metad2a_plugin.data.imagenet:MobileNetV2",
    },
}
"""``module:attribute`` of every built-in, by kind and name; ``setup.py`` declares the same entry points."""

DEFAULT_SPACE = "nasbench201"

_ALSO_CALLED: dict[str, dict[str, str]] = {
    "spaces": dict.fromkeys(("nb201", "natsbench", "natsbenchtss", "topology", "tss"), "nasbench201")
    | dict.fromkeys(("ofa", "onceforall", "ofambv3", "ofamobilenetv3", "mbv3", "nat"), "mobilenetv3"),
    "strategies": dict.fromkeys(("re", "rea", "ea", "evolution", "agingevolution"), "regularized-evolution")
    | {"rs": "random", "randomsearch": "random", "ls": "local-search", "hillclimbing": "local-search"}
    | {"ofa": "ofa-evolution", "evolutionfinder": "ofa-evolution"},
    "predictors": {"nwot": "naswot", "jacobcov": "naswot", "macs": "flops", "oneshot": "supernet"},
}
"""What else the field calls some of these, for hints; as `utils.checks.bare` gives it."""

_BASES = {
    "devices": "metad2a_plugin.devices.base:DeviceModel",
    "encoders": "metad2a_plugin.plugins.encoder:ImageEncoder",
    "predictors": "metad2a_plugin.plugins.predictor:Predictor",
    "spaces": "metad2a_plugin.spaces.base:SearchSpace",
    "strategies": "metad2a_plugin.plugins.strategy:Strategy",
}
"""What a class of each kind is a subclass of."""

_OF_A_SPACE = {"predictors": "the predictor {!r}:", "strategies": "the strategy {!r}"}
"""Kinds whose classes take the search space first, and what errors call one of them."""


@dataclass(frozen=True)
class Entry:
    """What is registered under a name; nothing is imported before it is needed.

    Attributes:
        kind: such as ``"strategies"``.
        name: such as ``"random"``.
        point: of the plug-in that brings it; None for a built-in.
    """

    kind: str
    name: str
    point: EntryPoint | None = None

    def load(self) -> Any:
        """The class."""
        if self.point is None:
            return _imported(BUILT_IN[self.kind][self.name])
        where = f"{self.name!r} among the {self.kind}, from {_owner(self.point)} ({self.point.value})"
        try:
            loaded = self.point.load()
        except Exception as error:  # importing somebody else's module can raise anything
            raise ConfigError(
                f"{where}, cannot be imported: {type(error).__name__}: {error}; upgrade or uninstall "
                f"{_owner(self.point)}"
            ) from error
        base = _imported(_BASES[self.kind])
        if not (isinstance(loaded, type) and issubclass(loaded, base)):
            raise ConfigError(f"{where}, must be a subclass of {base.__module__}.{base.__name__}, got {said(loaded)}")
        return loaded

    @property
    def parameters(self) -> tuple[inspect.Parameter, ...]:
        """What the class takes, but for the search space; ``*args`` and ``**options`` are left out."""
        return _named(self.load())[self.kind in _OF_A_SPACE :]

    @property
    def options(self) -> tuple[str, ...]:
        """Names of what the class takes, but for the search space."""
        return tuple(p.name for p in self.parameters)

    def takes(self, name: str) -> bool:
        """Whether the class has an argument of that name of its own."""
        return name in self.options

    def bind(self, **options: Any) -> Callable[..., Any]:
        """The class with its options, to be called with what comes first, such as the search space.

        Raises:
            ConfigError: it does not take these options, or not of such a type; what else is wrong with their values is
                said when it is called.
        """
        kind = self.load()
        try:
            inspect.signature(kind).bind(*[None] * (self.kind in _OF_A_SPACE), **options)
        except TypeError as error:
            known = ", ".join(option for option in self.options if option != "seed")
            one = _OF_A_SPACE.get(self.kind, f"{{!r}} among the {self.kind}:").format(self.name)
            raise ConfigError(f"{one} {error}; its options are {known or 'none'}") from None
        for parameter in self.parameters:
            if parameter.name in options and not _fits(parameter, value := options[parameter.name]):
                expected = " or ".join(_PLAIN[kind][1] for kind in _kinds(parameter))
                raise ConfigError(f"{parameter.name} must be {expected}, got {said(value)}, for {self.name!r}")
        return partial(kind, **options)


def option_names(kind: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the arguments of a class or function, in order; ``*args`` and ``**options`` are none.

    >>> option_names(round)
    ('number', 'ndigits')
    """
    return tuple(p.name for p in _named(kind))


def _named(kind: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    parameters = inspect.signature(kind).parameters.values()
    return tuple(p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))


_PLAIN: dict[str, tuple[Any, str]] = {
    "bool": (bool, "true or false"),
    "int": (Integral, "an integer"),
    "float": (Real, "a number"),
    "str": (str, "text"),
    "None": (NoneType, "null"),
}
"""What values of plain annotations may be, numpy's numbers included, and what that is called."""


def _kinds(parameter: inspect.Parameter) -> list[str]:
    annotation = parameter.annotation
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return [part.strip() for part in text.split("|")]


def _fits(parameter: inspect.Parameter, value: Any) -> bool:
    """Whether a value is of the annotated type, where that is made of plain ones; others are not looked into."""
    kinds = _kinds(parameter)
    if not set(kinds) <= _PLAIN.keys():
        return True
    if isinstance(value, bool):
        return "bool" in kinds
    return isinstance(value, tuple(_PLAIN[kind][0] for kind in kinds))


def entry(kind: str, name: str) -> Entry:
    """What is registered under a name.

    Args:
        kind: one of ``devices``, ``encoders``, ``predictors``, ``spaces``, ``strategies``.
        name: as `available` lists it.

    Raises:
        ConfigError: no such kind or name, or two distributions offer it.
    """
    instance(f"a name among the {kind}", name, str, "text")
    if name in _built_in(kind):
        return Entry(kind, name)
    points = _plug_ins(kind).get(name, [])
    if not points:
        known = available(kind)
        hint = did_you_mean(name, known, _ALSO_CALLED.get(kind))
        raise ConfigError(f"no {name!r} among the {kind}{hint}; known are {', '.join(known)}")
    if len(points) > 1:
        raise ConfigError(
            f"{name!r} is offered among the {kind} by {' and '.join(map(_owner, points))}; uninstall all but one"
        )
    return Entry(kind, name, points[0])


def available(kind: str) -> tuple[str, ...]:
    """Names of one kind, sorted; imports no plug-in."""
    return tuple(sorted({*_built_in(kind), *_plug_ins(kind)}))


def get_space(name: str) -> SearchSpace:
    """A search space."""
    return entry("spaces", name).load()()


def get_strategy(name: str) -> StrategyClass:
    """The class of a search strategy; call it as ``get_strategy(name)(space, seed=0)``."""
    found: StrategyClass = entry("strategies", name).load()
    return found


def bind_strategy(name: str, /, *, seed: int = 0, **options: Any) -> Callable[[SearchSpace], Strategy]:
    """A strategy with its options, for callers that have the search space only later: ``bind_strategy(name)(space)``.

    Raises:
        ConfigError: it does not take these options; what is wrong with their values is said when it is made.
    """
    return entry("strategies", name).bind(seed=seed, **options)


def get_predictor(name: str) -> PredictorClass:
    """The class of a performance predictor; call it as ``get_predictor(name)(space)``."""
    found: PredictorClass = entry("predictors", name).load()
    return found


def get_encoder_class(name: str) -> EncoderClass:
    """The class of an image encoder; call it as ``get_encoder_class(name)(device="cpu")``.

    `data.get_encoder` also knows torchvision's and folders.
    """
    found: EncoderClass = entry("encoders", name).load()
    return found


def get_device_models(space: str) -> Any:
    """The class, a `devices.base.DeviceModel`, of the models of devices that were measured with a space's networks.

    Raises:
        ConfigError: no device was measured with networks of that space.
    """
    known = available("devices")
    if space not in known:
        raise ConfigError(f"latencies are known for the spaces {' and '.join(known)}, not for {space!r}")
    return entry("devices", space).load()


def _imported(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)


def _built_in(kind: str) -> dict[str, str]:
    if not isinstance(kind, str) or kind not in BUILT_IN:
        raise ConfigError(f"unknown kind {kind!r}; the kinds are {', '.join(BUILT_IN)}")
    return BUILT_IN[kind]


def _plug_ins(kind: str) -> dict[str, list[EntryPoint]]:
    """Entry points of other distributions by name; a built-in's name cannot be taken."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=f"metad2a_plugin.{kind}"):
        if _owner(point) == DISTRIBUTION:
            continue
        if point.name in BUILT_IN[kind]:
            warnings.warn(
                f"{_owner(point)} offers {point.name!r} among the {kind}, which is the name of a built-in: "
                "ignored; it must be registered under another name",
                stacklevel=4,
            )
            continue
        # The same distribution can be on the path twice, for instance installed and as a checkout.
        twins = found.setdefault(point.name, [])
        if all(_owner(point) != _owner(twin) for twin in twins):
            twins.append(point)
    return found


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unnamed distribution"


def predictor_of(
    given: Predictor | str,
    space: SearchSpace,
    /,
    input_size: int | None = None,
    dataset: Any = None,
    seed: int | None = None,
    network: Mapping[str, Any] | None = None,
    budget: AnyBudget = None,
    **options: Any,
) -> Predictor:
    """The object itself, or one of the class of that name.

    A class that takes an ``input_size`` or a ``resolution`` gets `input_size`, one that takes a ``dataset`` gets the
    images (others are shown a `Task` with each call), and one that takes a ``seed`` gets that, where these are given.

    Args:
        given: a predictor, or its registry name.
        space: the search space.
        input_size: side of the images, in pixels; None leaves it to the predictor.
        dataset: anything that `load_dataset` takes.
        seed: of what the predictor draws.
        network: options of the networks, for a class that builds some (`Predictor.network`).
        budget: that scores are to be for, for a class that takes one; None is long training.
        **options: for the class; an object takes none.

    Raises:
        ConfigError: no such predictor, it is of another space, it does not know the size, it needs images and has none,
            does not take the options, or knows no budgets and is given one.
    """
    budget = Budget.of(budget)
    if isinstance(given, Predictor):
        if given.space.name != space.name:
            raise ConfigError(f"the predictor is of the space {given.space.name!r}, not {space.name!r}")
        if options:
            raise ConfigError(f"a predictor that is an object takes no options, got {', '.join(options)}")
        if budget is not None and given.budget != budget:
            if not given.knows_budgets:
                raise refused(f"the predictor {given.name!r}", space.name)
            raise ConfigError("a predictor that is an object has its budget already; make it with this one")
        return given
    found = entry("predictors", given)
    if budget is not None:
        if not found.takes("budget"):
            raise refused(f"the predictor {given!r}", space.name)
        options = {"budget": budget, **options}
    if network and found.load().network is not None:
        options = {**network, **options}
    offered = {"resolution": input_size, "input_size": input_size, "dataset": dataset, "seed": seed}
    options = {k: v for k, v in offered.items() if found.takes(k) and v is not None} | options
    predictor: Predictor = found.bind(**options)(space)
    predictor.name = given
    return predictor
