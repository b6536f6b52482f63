"""Modules of a network by name."""

from __future__ import annotations

from torch import nn


def put(network: nn.Module, name: str, module: nn.Module) -> nn.Module:
    """Set the submodule of a dotted name, as `nn.Module.set_submodule` of torch 2.5; returns what was there."""
    parent, _, last = name.rpartition(".")
    place = network.get_submodule(parent)
    before = place.get_submodule(last)
    setattr(place, last, module)
    return before
