"""The errors a user can cause; each message says what was given, what was expected and how to fix it."""

from __future__ import annotations

import importlib.util
import re

_SHOWN = 200
"""Characters of what was given that a message repeats, at most."""
_LONGEST = 1900
_ENDS = 400  # what stands at the end says how to mend it
_LONG_RUN = re.compile(r"\S{201,}")
_LONG_QUOTE = re.compile(
    r"(?<!\w)(?P<mark>['\"])(?P<text>(?:\\.|(?!(?P=mark))[^\\]|(?P=mark)(?=\w))*)(?P=mark)", re.DOTALL
)


class MetaD2AError(ValueError):
    """Base of every error this package raises for wrong input.

    A message is printable, and shortened where it repeats much of what was given.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(readable(arg) if isinstance(arg, str) else arg for arg in args))


class DatasetError(MetaD2AError):
    """A dataset cannot be read or cannot be used as a task."""


class ArchitectureError(MetaD2AError):
    """An architecture string or encoding is not of its search space."""


class CheckpointError(MetaD2AError):
    """A checkpoint is missing, damaged, or of another kind."""


class ConfigError(MetaD2AError):
    """An option or configuration value is out of range, unknown, or contradicts another."""


class MissingExtraError(MetaD2AError, ImportError):
    """An optional package is not installed; the message has the line that installs it, by default that of an extra."""

    def __init__(self, package: str, extra: str, purpose: str, *, line: str = "") -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. Install it with: "
            + (line or f"pip install 'metad2a-plugin[{extra}]'")
        )


class HostError(MetaD2AError, ImportError):
    """A host toolkit is installed, but not one that can be used; the message says how to mend it."""


def require(extra: str, purpose: str, *packages: str) -> None:
    """Refuse early, without importing anything, what would fail later for want of a package.

    Raises:
        MissingExtraError: one of `packages` is not installed.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, extra, purpose)


def readable(message: str) -> str:
    """A message that any terminal can show, in which what is quoted has at most about 200 characters.

    >>> len(readable(f"no file {'a' * 5000!r}; give another"))
    224
    """
    message = message.encode("utf-8", "backslashreplace").decode()
    if len(message) > _LONGEST:
        message = f"{message[: _LONGEST - _ENDS]} ... {message[-_ENDS:]}"
    # A long word first: where it has quotation marks, what is quoted is not what stands between two of them.
    message = _LONG_RUN.sub(lambda found: shortened(found[0]), message)
    return _LONG_QUOTE.sub(lambda found: f"{found['mark']}{shortened(found['text'])}{found['mark']}", message)


def shortened(text: str) -> str:
    """The beginning and the end of a long text, as long texts are shown in messages."""
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 50]}...{text[-47:]}"


def said(value: object) -> str:
    """What a value looks like, for messages: short and printable, whatever it is."""
    try:
        # Of a long text no more is copied than can be shown.
        text = repr(f"{value[:150]}...{value[-47:]}" if type(value) is str and len(value) > _SHOWN else value)
    except (AttributeError, LookupError, RecursionError, RuntimeError, TypeError, ValueError):
        return f"an object of type {type(value).__name__}"  # such as a number of thousands of digits
    return shortened(text)
