"""All cells of NAS-Bench-201 in one network that share their weights (Dong and Yang, ICLR 2020, section 5.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces.nasbench201.cell import CELL_EDGES, OPS
from metad2a_plugin.spaces.nasbench201.network import NASBench201Network, Reduction, operation

_NONE = OPS.index("none")
_INTO = tuple(
    tuple((edge, source) for edge, (source, target) in enumerate(CELL_EDGES) if target == node) for node in (1, 2, 3)
)
"""For each node after the input: its edges, and the nodes they come from."""
_BATCH_STATISTICS = {"track_running_stats": False}
_BARE = {"affine": False, **_BATCH_STATISTICS}


class SharedCell(nn.Module):
    """A cell with every operation on every edge; ``[b, c, h, w]`` to ``[b, c, h, w]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(
            nn.ModuleDict({op: operation(op, channels, **_BARE) for op in OPS if op != "none"}) for _ in CELL_EDGES
        )

    def forward(self, x: torch.Tensor, selection: torch.Tensor | Sequence[int]) -> torch.Tensor:
        nodes = [x]
        for into in _INTO:
            terms = [term for edge, source in into for term in self._terms(edge, nodes[source], selection)]
            nodes.append(sum(terms[1:], terms[0]) if terms else torch.zeros_like(x))
        return nodes[-1]

    def _terms(self, edge: int, x: torch.Tensor, selection: torch.Tensor | Sequence[int]) -> list[torch.Tensor]:
        modules = self.edges[edge]
        assert isinstance(modules, nn.ModuleDict)
        if isinstance(selection, torch.Tensor):
            return [selection[edge, i] * modules[op](x) for i, op in enumerate(OPS) if i != _NONE]
        return [] if selection[edge] == _NONE else [modules[OPS[selection[edge]]](x)]


class NASBench201Supernet(nn.Module):
    """Every cell of the space as a path through one network; images ``[b, 3, h, w]`` to logits ``[b, num_classes]``.

    Batch norm uses the statistics of the batch, in training and in evaluation: there are none that fit all cells.
    So evaluate with large, mixed batches. In the cells it has no scale and shift (as in DARTS, Liu et al., ICLR 2019,
    appendix A.1), which would undo the weights of a mixture.

    Args:
        num_classes: outputs of the classifier.
        channels: width of the first stage.
        cells: cells per stage.
    """

    def __init__(self, num_classes: int, channels: int = 16, cells: int = 5) -> None:
        super().__init__()
        self.num_classes, self.channels, self.cells = num_classes, channels, cells
        c1, c2, c3 = channels, 2 * channels, 4 * channels
        norm = _BATCH_STATISTICS
        self.stem = nn.Sequential(nn.Conv2d(3, c1, 3, padding=1, bias=False), nn.BatchNorm2d(c1, **norm))
        self.stages = nn.ModuleList(
            [
                *(SharedCell(c1) for _ in range(cells)),
                Reduction(c1, c2, **norm),
                *(SharedCell(c2) for _ in range(cells)),
                Reduction(c2, c3, **norm),
                *(SharedCell(c3) for _ in range(cells)),
            ]
        )
        self.head = nn.Sequential(nn.BatchNorm2d(c3, **norm), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(c3, num_classes)

    def forward(self, images: torch.Tensor, selection: torch.Tensor | Sequence[int]) -> torch.Tensor:
        """Logits.

        Args:
            images: ``[b, 3, h, w]``.
            selection: the choices of one architecture (one path is computed), or float ``[6, 5]``: the weight of each
                operation on each edge, for all cells alike (everything is computed, and differentiable).

        Raises:
            ConfigError: a selection of another shape.
        """
        weights = isinstance(selection, torch.Tensor)
        shape = list(selection.shape) if isinstance(selection, torch.Tensor) else [len(selection)]
        if shape != ([len(CELL_EDGES), len(OPS)] if weights else [len(CELL_EDGES)]):
            raise ConfigError(f"expected six choices, or a tensor [6, 5] of weights, got shape {shape}")
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x, selection) if isinstance(stage, SharedCell) else stage(x)
        return self.classifier(self.head(x))

    def extract(self, choices: Sequence[int]) -> NASBench201Network:
        """The network of an architecture with its share of the weights, copied.

        In training mode it gives the same outputs; its running statistics are those of an untrained network, so
        train it, or pass data through it, before it is used.
        """
        network = NASBench201Network(choices, self.num_classes, self.channels, self.cells)
        state = self.state_dict()
        wanted = network.state_dict()
        for name in wanted:
            source = _shared_name(name, choices)
            if source in state:
                wanted[name] = state[source]
        network.load_state_dict(wanted)
        return network


def _shared_name(name: str, choices: Sequence[int]) -> str:
    """Name in a supernet of a tensor of a network's: ``stages.0.edges.1<-0.1.weight`` has an operation put in."""
    stage, found, rest = name.partition(".edges.")
    if not found:
        return name
    ends, _, rest = rest.partition(".")
    target, source = map(int, ends.split("<-"))
    edge = CELL_EDGES.index((source, target))
    return f"{stage}.edges.{edge}.{OPS[choices[edge]]}.{rest}"
