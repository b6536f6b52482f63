"""All cells of NAS-Bench-201 in one network that share their weights (Dong and Yang, ICLR 2020, section 5.2)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F

from metad2a_plugin.errors import CheckpointError, ConfigError, said
from metad2a_plugin.spaces.nasbench201.cell import CELL_EDGES, OPS
from metad2a_plugin.spaces.nasbench201.network import NASBench201Network, Reduction, operation
from metad2a_plugin.utils.files import UNREADABLE, write_atomically
from metad2a_plugin.utils.schema import SchemaError, integer, parse_json, why
from metad2a_plugin.utils.tensors import FLOATS, TensorFile, same_shapes, shapes_of

FORMAT = "metad2a-nasbench201-weights-1"
_CONVOLUTIONS = ("nor_conv_1x1", "nor_conv_3x3")
_INTO = tuple(
    tuple((edge, source) for edge, (source, target) in enumerate(CELL_EDGES) if target == node) for node in (1, 2, 3)
)
"""For each node after the input: its edges, and the nodes they come from."""
_OUT_OF = tuple(
    tuple((edge, target) for edge, (source, target) in enumerate(CELL_EDGES) if source == node) for node in (0, 1, 2)
)
"""For each node before the output: its edges, and the nodes they go to."""
_BATCH_STATISTICS = {"track_running_stats": False}


class SharedCell(nn.Module):
    """A cell with every operation on every edge; ``[b, c, h, w]`` to ``[b, c, h, w]``.

    Args:
        channels: its width.
        scaled: whether batch norm has scale and shift.
    """

    def __init__(self, channels: int, scaled: bool) -> None:
        super().__init__()
        self.scaled = scaled
        norm = {"affine": scaled, **_BATCH_STATISTICS}
        self.edges = nn.ModuleList(
            nn.ModuleDict({op: operation(op, channels, **norm) for op in OPS if op != "none"}) for _ in CELL_EDGES
        )

    def forward(self, x: torch.Tensor, selection: torch.Tensor | Sequence[int]) -> torch.Tensor:
        if isinstance(selection, torch.Tensor):
            return self._mixture(x, selection)
        nodes = [x]
        for into in _INTO:
            chosen = [(self._operations(edge), OPS[selection[edge]], source) for edge, source in into]
            terms = [modules[op](nodes[source]) for modules, op, source in chosen if op != "none"]
            nodes.append(sum(terms[1:], terms[0]) if terms else torch.zeros_like(x))
        return nodes[-1]

    def _mixture(self, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Every operation; edges out of a node share its ReLU and average, and have one convolution of each kind."""
        nodes: list[list[torch.Tensor]] = [[x], [], [], []]
        for source, out in enumerate(_OUT_OF):
            value = sum(nodes[source][1:], nodes[source][0])
            relu, average = F.relu(value), self._operations(out[0][0])["avg_pool_3x3"](value)
            edges = [edge for edge, _ in out]
            convolved = zip(*(self._convolved(op, edges, relu) for op in _CONVOLUTIONS), strict=True)
            for (edge, target), found in zip(out, convolved, strict=True):
                made = {"skip_connect": value, "avg_pool_3x3": average, **dict(zip(_CONVOLUTIONS, found, strict=True))}
                terms = [weights[edge, i] * made[op] for i, op in enumerate(OPS) if op in made]
                nodes[target].append(sum(terms[1:], terms[0]))
        return sum(nodes[-1][1:], nodes[-1][0])

    def _convolved(self, op: str, edges: Sequence[int], relu: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """A convolution of several edges, and its batch norm, for each of them."""
        convs, norms = ([self._operations(edge).get_submodule(f"{op}.{place}") for edge in edges] for place in (1, 2))

        def joined(modules: Sequence[nn.Module], name: str) -> torch.Tensor:
            return torch.cat([getattr(module, name) for module in modules])

        scale, shift = (joined(norms, name) if self.scaled else None for name in ("weight", "bias"))
        values = F.conv2d(relu, joined(convs, "weight"), padding="same")
        return F.batch_norm(values, None, None, scale, shift, training=True).chunk(len(edges), 1)

    def _operations(self, edge: int) -> nn.ModuleDict:
        modules = self.edges[edge]
        assert isinstance(modules, nn.ModuleDict)
        return modules


class NASBench201Supernet(nn.Module):
    """Every cell of the space as a path through one network; images ``[b, 3, h, w]`` to logits ``[b, num_classes]``.

    Batch norm uses the statistics of the batch, in training and in evaluation: there are none that fit all cells.
    So evaluate with large, mixed batches. In the cells it has no scale and shift (as in DARTS, Liu et al., ICLR 2019,
    appendix A.1), which would undo the weights of a mixture.

    Args:
        num_classes: outputs of the classifier.
        channels: width of the first stage.
        cells: cells per stage.
        scaled: let batch norm have scale and shift in the cells too, where networks are cut.
    """

    def __init__(self, num_classes: int, channels: int = 16, cells: int = 5, scaled: bool = False) -> None:
        super().__init__()
        self.num_classes, self.channels, self.cells, self.scaled = num_classes, channels, cells, scaled
        c1, c2, c3 = channels, 2 * channels, 4 * channels
        norm = _BATCH_STATISTICS
        self.stem = nn.Sequential(nn.Conv2d(3, c1, 3, padding=1, bias=False), nn.BatchNorm2d(c1, **norm))
        self.stages = nn.ModuleList(
            [
                *(SharedCell(c1, scaled) for _ in range(cells)),
                Reduction(c1, c2, **norm),
                *(SharedCell(c2, scaled) for _ in range(cells)),
                Reduction(c2, c3, **norm),
                *(SharedCell(c3, scaled) for _ in range(cells)),
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

    def weights(self, choices: Sequence[int], channels: int, cells: int) -> dict[str, torch.Tensor]:
        """What a network of a cell uses of the weights, by the names of its own parameters, without the classifier.

        Parts of the supernet's tensors, so that gradients reach it: of each layer the first channels, of each stage the
        first cells.

        Args:
            choices: of the cell.
            channels, cells: size of the network, at most the supernet's.

        Raises:
            ConfigError: it is larger.
        """
        if channels > self.channels or cells > self.cells:
            raise ConfigError(
                f"the supernet's weights are of {self.channels} channels and {self.cells} cells, too few for "
                f"{channels} and {cells}; give channels and cells of at most that"
            )
        own = dict(self.named_parameters())
        return {
            name: own[source][tuple(slice(size) for size in shape)]
            for name, source, shape in _parts(tuple(choices), channels, cells, self.cells)
        }


def as_supernet(network: nn.Module) -> NASBench201Supernet:
    """The same, if it is one; else a `ConfigError`."""
    if not isinstance(network, NASBench201Supernet):
        raise ConfigError(f"expected a supernet of nasbench201, got {type(network).__name__}")
    return network


def write_supernet(path: str | os.PathLike[str], supernet: nn.Module) -> None:
    """Write the weights of half precision, without the classifier, as one safetensors file."""
    supernet = as_supernet(supernet)
    if not supernet.scaled:
        raise ConfigError("a supernet whose cells have no scale and shift cannot be cut; make it with scaled=True")
    size = {"channels": str(supernet.channels), "cells": str(supernet.cells)}
    weights = {
        name: value.detach().cpu().half().contiguous()
        for name, value in supernet.state_dict().items()
        if not name.startswith("classifier.")
    }
    write_atomically(path, save(weights, {"format": FORMAT, **size}))


def read_supernet(path: str | os.PathLike[str]) -> NASBench201Supernet:
    """A supernet of a file of `write_supernet`.

    Raises:
        CheckpointError: the file cannot be read, or holds something else.
    """
    try:
        file = TensorFile(path)
        if file.metadata.get("format") != FORMAT:
            raise SchemaError(f"its format is {said(file.metadata.get('format'))}, expected {FORMAT!r}")
        about = {name: parse_json(file.metadata.get(name, "null")) for name in ("channels", "cells")}
        channels, cells = integer(1, 4096)(about["channels"], "channels"), integer(1, 100)(about["cells"], "cells")
        file.require(FLOATS)
        expected = shapes_of(lambda: NASBench201Supernet(1, channels, cells, scaled=True))
        same_shapes(file.shapes, {n: shape for n, shape in expected.items() if not n.startswith("classifier.")})
        weights = {name: value.float() for name, value in file.read().items()}
        supernet = NASBench201Supernet(1, channels, cells, scaled=True)
        supernet.load_state_dict(weights | {f"classifier.{k}": v for k, v in supernet.classifier.state_dict().items()})
    except UNREADABLE as error:
        raise CheckpointError(
            f"{os.fspath(path)!r} holds no starting weights of nasbench201 ({why(error)}); give "
            "'shipped' for those of this package"
        ) from error
    return supernet


@lru_cache(maxsize=64)
def _parts(
    choices: tuple[int, ...], channels: int, cells: int, shared_cells: int
) -> tuple[tuple[str, str, torch.Size], ...]:
    """Name, name in a supernet of more cells, and shape, of the parameters of a network without its classifier."""
    with torch.device("meta"):
        network = NASBench201Network(choices, 1, channels, cells)

    def found() -> Iterator[tuple[str, str, torch.Size]]:
        for name, value in network.named_parameters():
            source = _shared_name(name, choices)
            kind, _, rest = source.partition(".")
            if kind == "stages":
                place, _, rest = rest.partition(".")
                stage, cell = divmod(int(place), cells + 1)
                # A reduction follows the last cell of a stage.
                cell = shared_cells if cell == cells else cell
                source = f"stages.{stage * (shared_cells + 1) + cell}.{rest}"
            if kind != "classifier":
                yield name, source, value.shape

    return tuple(found())


def _shared_name(name: str, choices: Sequence[int]) -> str:
    """Name in a supernet of a tensor of a network's: ``stages.0.edges.1<-0.1.weight`` has an operation put in."""
    stage, found, rest = name.partition(".edges.")
    if not found:
        return name
    ends, _, rest = rest.partition(".")
    target, source = map(int, ends.split("<-"))
    edge = CELL_EDGES.index((source, target))
    return f"{stage}.edges.{edge}.{OPS[choices[edge]]}.{rest}"
