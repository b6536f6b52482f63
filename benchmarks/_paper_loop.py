"""The paper's search-time loop, graph by graph and vertex by vertex: the baseline of the speed benchmark.

It follows the order of work of the authors' public code on the weights of `PaperGenerator` and `PaperPredictor`:
candidates are decoded 100 at a time from fresh draws of images, with a Python loop over graphs, vertices and
edges; then, for every candidate, images are drawn ten times, the dataset is encoded ten times and the graph is
encoded in ten copies. Same draws, same numbers as the batched code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch.nn import functional as F

from metad2a_plugin.models.generator import PaperGenerator
from metad2a_plugin.models.predictor import PaperPredictor
from metad2a_plugin.nn.dag import Edges, MessageCell
from metad2a_plugin.nn.decoder import INPUT, OUTPUT
from metad2a_plugin.nn.set_transformer import SetEncoder
from metad2a_plugin.spaces.nasbench201.cell import EDGES

DRAWS, BATCH = 10, 100

Draw = Callable[[], torch.Tensor]
"""Draws images of the dataset: ``[classes, images, feature_dim]``."""
ChooseTypes = Callable[[torch.Tensor], list[int]]
"""Types of the next vertex of each graph, from their scores ``[graphs, types]``."""
ChooseEdges = Callable[[int, int, torch.Tensor], list[bool]]
"""Whether each graph has the edge (from, to), from their log-odds ``[graphs]``."""


@dataclass
class Graph:
    """One graph, and the state of each vertex, ``[1, hidden]``."""

    types: list[int]
    edges: set[tuple[int, int]]
    states: dict[int, torch.Tensor] = field(default_factory=dict)

    def before(self, vertex: int) -> list[int]:
        return sorted(s for s, t in self.edges if t == vertex)

    def after(self, vertex: int) -> list[int]:
        return sorted(t for s, t in self.edges if s == vertex)

    def is_valid(self, num_vertices: int) -> bool:
        """All vertices there, one input, one output, and no other without a predecessor or a successor."""
        inner = range(1, len(self.types) - 1)
        return (
            len(self.types) == num_vertices
            and self.types[-1] == OUTPUT
            and all(self.types[v] not in (INPUT, OUTPUT) and self.before(v) and self.after(v) for v in inner)
            and bool(self.after(0))
        )


def one_hot(index: int, length: int) -> torch.Tensor:
    return F.one_hot(torch.tensor([index]), length).float()


def update(
    cell: MessageCell,
    graphs: Sequence[Graph],
    vertex: int,
    senders: Callable[[Graph], list[int]],
    received: torch.Tensor | None = None,
) -> None:
    """Compute the state of `vertex` in every graph from its senders, or from `received` ``[graphs, hidden]``."""
    types = torch.cat([one_hot(graph.types[vertex], cell.gru.input_size) for graph in graphs])
    if received is None:
        width = cell.gate.in_features
        rows = []
        for graph in graphs:
            joined = [
                torch.cat([graph.states[u], one_hot(u, width - cell.hidden)], dim=1) for u in senders(graph)
            ]
            rows.append(torch.cat([torch.zeros(0, width), *joined]))
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        received = (cell.gate(padded).sigmoid() * cell.mapper(padded)).sum(1)
    states = cell.gru(types, received)
    for i, graph in enumerate(graphs):
        graph.states[vertex] = states[i : i + 1]


def encode_sets(encoder: SetEncoder, sets: Sequence[torch.Tensor]) -> torch.Tensor:
    """One dataset after another, ``[sets, latent]``."""
    return torch.cat([encoder.classes(encoder.images(images)[None]) for images in sets])


@torch.no_grad()
def predict(predictor: PaperPredictor, draw: Draw, types: list[int], edges: Edges = EDGES) -> float:
    """The mean score of one architecture over fresh draws."""
    codes = encode_sets(predictor.set_encoder, [draw() for _ in range(DRAWS)])
    encoder = predictor.graph_encoder
    graphs = [Graph(types, set(edges)) for _ in range(DRAWS)]
    ends = []
    for cell, order, senders in (
        (encoder.ahead, range(len(types)), Graph.before),
        (encoder.back, range(len(types) - 1, -1, -1), Graph.after),
    ):
        for vertex in order:
            update(cell, graphs, vertex, lambda graph, v=vertex, of=senders: of(graph, v))  # type: ignore[misc]
        ends.append(torch.cat([graph.states[order[-1]] for graph in graphs]))
    graph_codes = encoder.code(encoder.join(torch.cat(ends, dim=1)))
    scores = predictor.out(predictor.fc(torch.cat([codes, graph_codes], dim=1)).tanh())
    return float(scores.mean())


def decode(
    generator: PaperGenerator,
    z: torch.Tensor,
    num_vertices: int,
    choose_types: ChooseTypes,
    choose_edges: ChooseEdges,
) -> list[Graph]:
    """Grow one graph per latent vector ``[graphs, latent]``; the last vertex is made the output."""
    decoder = generator.decoder
    graphs = [Graph([INPUT], set()) for _ in z]
    update(decoder.cell, graphs, 0, lambda graph: [], decoder.start(z).tanh())
    for vertex in range(1, num_vertices):
        growing = [graph for graph in graphs if graph.types[-1] != OUTPUT]
        if not growing:
            break
        last = torch.cat([graph.states[vertex - 1] for graph in growing])
        chosen = choose_types(decoder.type_head(last))
        for graph, vertex_type in zip(growing, chosen, strict=True):
            graph.types.append(OUTPUT if vertex == num_vertices - 1 else vertex_type)
        update(decoder.cell, growing, vertex, lambda graph: [])
        for sender in range(vertex - 1, -1, -1):
            pairs = torch.cat([torch.cat([g.states[sender], g.states[vertex]], dim=1) for g in growing])
            joined = choose_edges(sender, vertex, decoder.edge_head(pairs).squeeze(1))
            for graph, join in zip(growing, joined, strict=True):
                if graph.types[vertex] == OUTPUT:
                    # The output takes every vertex that nothing has taken yet.
                    graph.edges |= {(u, vertex) for u in range(vertex) if not graph.after(u)}
                elif join:
                    graph.edges.add((sender, vertex))
            update(decoder.cell, growing, vertex, lambda graph, v=vertex: graph.before(v))  # type: ignore[misc]
    return graphs


@torch.no_grad()
def generate(
    generator: PaperGenerator, draw: Draw, count: int, seed: int = 0, num_vertices: int = 8
) -> list[list[int]]:
    """Vertex types of `count` different valid graphs, each from its own draw of images."""
    rng = torch.Generator().manual_seed(seed)

    def choose_types(scores: torch.Tensor) -> list[int]:
        return torch.multinomial(scores.softmax(1), 1, generator=rng).flatten().tolist()

    def choose_edges(sender: int, vertex: int, scores: torch.Tensor) -> list[bool]:
        return (torch.rand(len(scores), generator=rng) < scores.sigmoid()).tolist()

    found: dict[tuple[int, ...], None] = {}
    while len(found) < count:
        z = generator.mu(encode_sets(generator.set_encoder, [draw() for _ in range(BATCH)]))
        for graph in decode(generator, z, num_vertices, choose_types, choose_edges):
            if graph.is_valid(num_vertices) and len(found) < count:
                found[tuple(graph.types)] = None
    return [list(types) for types in found]
