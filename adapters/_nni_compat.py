"""Whether NNI can work, and a fault of it that is mended in its place."""

from __future__ import annotations

import importlib
import logging
import warnings
from typing import Any

from packaging.version import Version

from metad2a_plugin.errors import HostError, require
from metad2a_plugin.utils.installed import version_of

_log = logging.getLogger(__name__)
_MEND = "install what it was written for: pip install 'metad2a-plugin[nni]'"


def check_versions() -> None:
    """Whether NNI is there and can work, by the releases that are installed; nothing of it is imported.

    Raises:
        MissingExtraError: NNI or Lightning is not installed.
        HostError: another release of NNI, or a package that its experiments hang with.
    """
    require("nni", "the NNI adapter", "nni", "pytorch_lightning")
    nni, filelock = version_of("nni"), version_of("filelock", "0")
    if Version(nni).major != 3:
        raise HostError(f"the NNI adapter needs NNI 3.0, found {nni}; {_MEND}")
    if Version(filelock) >= Version("3.12"):
        raise HostError(f"NNI experiments hang at their start with filelock {filelock}; {_MEND}")


def check() -> None:
    """Whether NNI's part for architectures works, which takes seconds to import.

    Raises:
        MissingExtraError, HostError: as `check_versions`, or it does not import.
    """
    check_versions()
    nni = version_of("nni")
    try:
        with warnings.catch_warnings():
            # NNI lists the classes of torch.nn that are younger than itself.
            warnings.filterwarnings("ignore", message=".* is found to be not a nn.Module", category=RuntimeWarning)
            importlib.import_module("nni.nas.nn.pytorch")
    except Exception as error:  # a host's import can raise anything
        mend = "uninstall torchvision, or install the one that fits torch" if "torchvision" in str(error) else _MEND
        raise HostError(f"NNI {nni} does not import: {type(error).__name__}: {error}; {mend}") from error


def tolerate_unknown_commands() -> None:
    """Let the engine ignore commands it does not know, once for the whole process.

    A resumed experiment sends ``ImportData``; NNI's listener ends on it, and with it every metric to come.
    """
    from nni.runtime.tuner_command_channel import TunerCommandChannel

    receive = TunerCommandChannel.receive
    if getattr(receive, "tolerant", False):
        return

    def tolerant_receive(channel: Any) -> Any:
        while True:
            try:
                return receive(channel)
            except ValueError as error:
                if "Unknown command type" not in str(error):
                    raise
                _log.debug("ignored: %s", error)

    tolerant_receive.tolerant = True  # type: ignore[attr-defined]
    TunerCommandChannel.receive = tolerant_receive
