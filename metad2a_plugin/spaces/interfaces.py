"""What a search space may be able to do besides; found by ``isinstance``, so that a space says so by inheriting.

>>> from metad2a_plugin.spaces.nasbench201.space import NASBench201
>>> isinstance(NASBench201(), Drawable), isinstance(NASBench201(), WeightSharing)
(True, True)
"""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.choice import ChoiceSpace
from metad2a_plugin.spaces.restricted import RestrictedSpace
from metad2a_plugin.utils.lazy import torch

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Means and deviations of the three colours of ImageNet, of pixels scaled to 0..1."""


class Drawable(ABC):
    """A space whose architectures have a picture."""

    @abstractmethod
    def draw(self, architecture: Architecture, path: str | os.PathLike[str], title: str | None = None) -> None:
        """Draw an architecture as SVG or PNG, by the suffix of `path`.

        Raises:
            ConfigError: another suffix.
            MissingExtraError: matplotlib is not installed (extra ``draw``).
        """

    def svg(self, architecture: Architecture) -> bytes:
        """The SVG that `draw` writes; errors as there."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.svg"
            self.draw(architecture, path)
            return path.read_bytes()


class CellSpace(ChoiceSpace):
    """A space of cells: nodes in a row, from node 0, the input, to the last, the output, each the sum of its inputs.

    A decision is about the operation on one edge; each is among the same `operations`.
    """

    cell_edges: tuple[tuple[int, int], ...]
    """The edge, (from node, to node), of each decision; from lower to higher nodes, one between two nodes at most."""
    none: int
    """The operation that is no connection."""
    skip: int
    """The operation that passes on what it is given."""
    convolutions: tuple[int, ...]
    """The operations with weights."""

    @abstractmethod
    def pruned(self, vertices: torch.Tensor) -> torch.Tensor:
        """The choices of encoded cells with `none` on all edges that lie on no path from input to output.

        Args:
            vertices: int64 ``[n, num_vertices]``.

        Returns:
            int64 ``[n, decisions]``.
        """


class WeightSharing(ChoiceSpace):
    """A space whose architectures are paths through one network; all decisions are among the same `operations`."""

    reference: tuple[int, ...]
    """Choices of the architecture whose accuracy stands for the supernet's while random paths are trained."""

    @abstractmethod
    def supernet(self, num_classes: int, *args: Any, **options: Any) -> torch.nn.Module:
        """The network, with the options of `build`.

        It is called with images ``[batch, 3, height, width]`` and the choices of one architecture, of which it computes
        the path, or a float tensor ``[decisions, operations]``, the weight of each operation in each decision, and then
        computes all, differentiably; output ``[batch, num_classes]``.
        """


class Transferable(SearchSpace):
    """A space of which one supernet holds weights for all networks up to some size, learned on images of other kinds.

    Networks with these weights take pixels that were normalised by `IMAGENET`.
    """

    head: str
    """Name of the linear layer of a network, which alone depends on the classes."""

    @abstractmethod
    def untrained_supernet(self, *args: Any, **options: Any) -> torch.nn.Module:
        """The supernet of all networks up to a size, which is given by options of `build`."""

    @abstractmethod
    def read_supernet(self, path: str | os.PathLike[str]) -> torch.nn.Module:
        """The supernet in a file.

        Raises:
            CheckpointError: it cannot be read, or holds something else.
        """

    @abstractmethod
    def write_supernet(self, path: str | os.PathLike[str], supernet: torch.nn.Module) -> None:
        """Write a file for `read_supernet`, of half precision.

        Raises:
            ConfigError: it cannot be written.
        """

    @abstractmethod
    def cut(
        self, supernet: torch.nn.Module, architecture: Architecture, *args: Any, **options: Any
    ) -> dict[str, torch.Tensor]:
        """What a network takes of the weights: its parameters by name, without those of `head`.

        Running statistics too, where the supernet has some. They are parts of its tensors, so that gradients reach it.

        Raises:
            ConfigError: the network is larger than the supernet, or of another width.
        """


def weight_sharing(space: SearchSpace) -> WeightSharing:
    """The space itself, or that which it is a part of, if it has a supernet.

    Raises:
        ConfigError: it has none.
    """
    space = space.whole if isinstance(space, RestrictedSpace) else space
    if not isinstance(space, WeightSharing):
        raise ConfigError(f"the space {space.name!r} has no supernet, whose weights all its architectures would share")
    return space


def transferable(space: SearchSpace) -> Transferable:
    """The space itself, or that which it is a part of, if its networks can be cut from a supernet.

    Raises:
        ConfigError: they cannot.
    """
    space = space.whole if isinstance(space, RestrictedSpace) else space
    if not isinstance(space, Transferable):
        raise ConfigError(f"networks of the space {space.name!r} cannot begin with weights of others")
    return space
