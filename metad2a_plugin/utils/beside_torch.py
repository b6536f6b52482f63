"""Packages that ask for one release of torch, and torchvision beside a build of torch that it was not made for."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

from metad2a_plugin.utils.installed import version_of


def install_beside_torch(*packages: str) -> str:
    """The line that installs such packages and keeps the torch at hand: alone they bring the newest, for CUDA."""
    return f"pip install {' '.join(packages)} torch=={version_of('torch')}"


def import_torchvision() -> bool:
    """Import torchvision where it is installed; whether two operators had to be defined for that.

    The package index has torchvision built for CUDA only, which looks for operators that a CPU build of torch lacks.
    """
    if "torchvision" in sys.modules or find_spec("torchvision") is None:
        return False
    try:
        import_module("torchvision")
    except (AttributeError, ImportError, OSError, RuntimeError) as error:
        if "torchvision::" in str(error):
            _define_operators()
            return True  # whoever imports torchvision next meets any other error again
    return False


def _define_operators() -> None:
    import torch

    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    # Names without code: no host draws boxes, and who calls them is told that they have no kernel.
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
