"""Conformance kits for plug-in authors, and a toy search space to try things on.

Subclass a kit in your own tests, say how to make your object, and pytest runs every check of its contract::

    from metad2a_plugin.testing import StrategyConformance

    class TestGreedy(StrategyConformance):
        def make(self, space, seed):
            return Greedy(space, seed=seed)

The kits need no pytest themselves: every check is a plain method that raises AssertionError.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metad2a_plugin.data.task import Task
from metad2a_plugin.errors import ArchitectureError, ConfigError
from metad2a_plugin.nn.dag import predecessors
from metad2a_plugin.predictor import Predictor
from metad2a_plugin.spaces.base import Architecture, Cost, SearchSpace
from metad2a_plugin.strategy import Strategy

if TYPE_CHECKING:
    import networkx as nx
    from torch import nn


class ToySpace(SearchSpace):
    """Chains of operations, written ``conv>skip>conv``: small enough to check by hand, complete enough to search.

    ``none`` cuts the chain, so that the network is dead; ``skip`` passes its input on, so that it changes nothing.

    >>> space = ToySpace()
    >>> space.canonical(space.parse("conv>skip>conv")) == space.canonical(space.parse("skip>conv>conv"))
    True

    Args:
        length: operations in the chain.
    """

    name = "toy"
    ops = ("none", "skip", "conv")
    vertex_types = ("input", "output", *ops)

    def __init__(self, length: int = 3) -> None:
        self.length = length
        self.size = len(self.ops) ** length
        self.num_vertices = length + 2
        self.edges = tuple((v, v + 1) for v in range(length + 1))

    def sample(self, rng: random.Random) -> Architecture:
        return Architecture(self.name, tuple(rng.randrange(len(self.ops)) for _ in range(self.length)))

    def mutate(self, architecture: Architecture, rng: random.Random) -> Architecture:
        return rng.choice(self.neighbors(architecture))

    def neighbors(self, architecture: Architecture) -> list[Architecture]:
        choices = self.validate(architecture).choices
        return [
            Architecture(self.name, (*choices[:i], op, *choices[i + 1 :]))
            for i in range(self.length)
            for op in range(len(self.ops))
            if op != choices[i]
        ]

    def enumerate(self) -> Iterator[Architecture]:
        return (Architecture(self.name, c) for c in product(range(len(self.ops)), repeat=self.length))

    def validate(self, architecture: Architecture) -> Architecture:
        legal = isinstance(architecture, Architecture) and architecture.space == self.name
        legal = legal and len(architecture.choices) == self.length
        if not legal or not all(c in range(len(self.ops)) for c in architecture.choices):
            raise ArchitectureError(
                f"expected an Architecture of {self.name!r} with {self.length} choices below {len(self.ops)}, "
                f"got {architecture!r}"
            )
        return architecture

    def parse(self, text: str) -> Architecture:
        ops = text.split(">") if isinstance(text, str) else []
        if len(ops) != self.length or not set(ops) <= set(self.ops):
            raise ArchitectureError(f"expected {self.length} of {self.ops} joined by '>', got {text!r}")
        return Architecture(self.name, tuple(map(self.ops.index, ops)))

    def format(self, architecture: Architecture) -> str:
        return ">".join(self.ops[c] for c in self.validate(architecture).choices)

    def encode(self, architectures: Sequence[Architecture]) -> torch.Tensor:
        rows = [(0, *(c + 2 for c in self.validate(a).choices), 1) for a in architectures]
        return torch.tensor(rows, dtype=torch.int64).reshape(-1, self.num_vertices)

    def decode(self, vertices: torch.Tensor) -> list[Architecture]:
        if vertices.ndim != 2 or vertices.shape[1] != self.num_vertices or vertices.is_floating_point():
            raise ArchitectureError(
                f"expected integers [n, {self.num_vertices}], got {vertices.dtype} {list(vertices.shape)}"
            )
        if (vertices[:, 0] != 0).any() or (vertices[:, -1] != 1).any():
            raise ArchitectureError("the first vertex must be the input (0) and the last the output (1)")
        rows = (vertices[:, 1:-1] - 2).tolist()
        return [self.validate(Architecture(self.name, tuple(row))) for row in rows]

    def canonical(self, architecture: Architecture) -> str:
        return "dead" if self.is_dead(architecture) else "conv>" * architecture.choices.count(2)

    def is_dead(self, architecture: Architecture) -> bool:
        return 0 in self.validate(architecture).choices

    def to_networkx(self, architecture: Architecture) -> nx.DiGraph[int]:
        import networkx as nx

        graph: nx.DiGraph[int] = nx.DiGraph()
        ops = ("input", *(self.ops[c] for c in self.validate(architecture).choices), "output")
        graph.add_nodes_from((v, {"op": op}) for v, op in enumerate(ops))
        graph.add_edges_from((v, v + 1) for v in range(len(ops) - 1))
        return graph

    def build(self, architecture: Architecture, num_classes: int, **options: Any) -> nn.Module:
        from torch import nn

        layers: list[nn.Module] = [nn.Conv2d(3, 4, 1)]
        for choice in self.validate(architecture).choices:
            if choice == 2:
                layers.append(nn.Conv2d(4, 4, 3, padding=1))
        cut = nn.Threshold(math.inf, 0.0) if self.is_dead(architecture) else nn.Identity()
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), cut, nn.Linear(4, num_classes))

    def cost(self, architecture: Architecture, **options: Any) -> Cost:
        """Costs for ``num_classes`` (10) and square images of ``input_size`` (32) pixels."""
        classes, pixels = options.get("num_classes", 10), options.get("input_size", 32) ** 2
        convs = self.validate(architecture).choices.count(2)
        params = 3 * 4 + 4 + convs * (4 * 4 * 9 + 4) + 4 * classes + classes
        return Cost(params / 1e6, (pixels * (12 + convs * 144) + 4 * classes) / 1e6)

    def vertex_costs(self, **options: Any) -> torch.Tensor:
        """What `cost` counts for the input, and for each ``conv``; options as there."""
        none, one = (
            self.cost(Architecture(self.name, (2,) * n + (1,) * (self.length - n)), **options) for n in (0, 1)
        )
        fixed, more = (torch.tensor([c.params, c.flops], dtype=torch.float64) for c in (none, one))
        costs = torch.zeros(2, self.num_vertices, len(self.vertex_types), dtype=torch.float64)
        costs[:, 0, 0], costs[:, 1:-1, 4] = fixed, (more - fixed)[:, None]
        return costs


@contextmanager
def _refuses(error: type[Exception], what: str) -> Iterator[None]:
    try:
        yield
    except error as caught:
        message = str(caught)
    except Exception as caught:
        raise AssertionError(f"{what} must raise {error.__name__}, raised {caught!r}") from caught
    else:
        raise AssertionError(f"{what} must raise {error.__name__}, was accepted")
    assert message, f"{what}: the {error.__name__} has no message"


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """Seeds the global random generators, which no plug-in may depend on."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _some(space: SearchSpace, n: int, seed: int = 0) -> list[Architecture]:
    rng = random.Random(seed)
    return [space.sample(rng) for _ in range(n)]


def _foreign(space: SearchSpace) -> list[Any]:
    """Things that are no architecture of `space`."""
    mine = _some(space, 1)[0]
    return [
        Architecture("another-space", mine.choices),
        Architecture(space.name, (*mine.choices, 0)),
        Architecture(space.name, (10**6, *mine.choices[1:])),
        Architecture(space.name, (-1, *mine.choices[1:])),
        space.format(mine),
        None,
    ]


class SearchSpaceConformance:
    """The contract of `SearchSpace`; override `make_space`, and the settings of your networks.

    Attributes:
        samples: how many random architectures most checks look at.
        networks: how many of them are built.
        num_classes: classes of the built networks, given to `build` and `cost`.
        input_size: height and width of the images they are run on.
        listable: spaces of at most this size must enumerate themselves.
    """

    samples = 20
    networks = 2
    num_classes = 10
    input_size = 32
    listable = 20_000

    def make_space(self) -> SearchSpace:
        raise NotImplementedError("return an instance of your search space")

    def test_sampling_follows_the_generator(self) -> None:
        space = self.make_space()
        for draw in (space.sample, space.sample_balanced):
            drawn = []
            for seed in (1, 2):
                rng = random.Random(0)
                with _global_seed(seed):
                    drawn.append([draw(rng) for _ in range(self.samples)])
            name = f"{draw.__name__}()"
            assert drawn[0] == drawn[1], f"{name} must depend on the generator it is given only"
            assert len(set(drawn[0])) > 1, f"{name} always gives the same architecture"
            assert all(a.space == space.name and space.validate(a) == a for a in drawn[0])

    def test_enumerates_every_architecture_once(self) -> None:
        space = self.make_space()
        if space.size > self.listable:
            with suppress(ConfigError):  # a large space may refuse
                space.validate(next(iter(space.enumerate())))
            return
        cells = list(space.enumerate())
        assert len(cells) == len(set(cells)) == space.size, "enumerate() must list `size` different architectures"
        assert set(_some(space, self.samples)) <= set(cells), "sample() draws what enumerate() does not list"

    def test_parse_reads_what_format_writes(self) -> None:
        space = self.make_space()
        cells = set(_some(space, self.samples))
        texts = {space.format(a): a for a in cells}
        assert len(texts) == len(cells), "format() writes two architectures alike"
        for text, architecture in texts.items():
            assert space.parse(text) == architecture, f"parse(format(a)) is another architecture: {text!r}"

    def test_parse_refuses_nonsense(self) -> None:
        space = self.make_space()
        for text in ("", "no such architecture", None, 5):
            with _refuses(ArchitectureError, f"parse({text!r})"):
                space.parse(text)  # type: ignore[arg-type]

    def test_foreign_architectures_are_refused(self) -> None:
        space = self.make_space()
        [mine] = _some(space, 1)
        for foreign in _foreign(space):
            for method in (space.validate, space.format, space.neighbors, space.canonical, space.is_dead, space.cost):
                with _refuses(ArchitectureError, f"{method.__name__}({foreign!r})"):
                    method(foreign)
            with _refuses(ArchitectureError, f"encode([{foreign!r}])"):
                space.encode([foreign])
            with _refuses(ArchitectureError, f"mutate({foreign!r})"):
                space.mutate(foreign, random.Random(0))
            for first, second in ((foreign, mine), (mine, foreign)):
                with _refuses(ArchitectureError, f"crossover({first!r}, {second!r})"):
                    space.crossover(first, second, random.Random(0))

    def test_decode_inverts_encode(self) -> None:
        space = self.make_space()
        cells = list(dict.fromkeys(_some(space, self.samples)))
        vertices = space.encode(cells)
        assert vertices.dtype == torch.int64 and vertices.shape == (len(cells), space.num_vertices)
        assert int(vertices.min()) >= 0 and int(vertices.max()) < len(space.vertex_types)
        assert space.decode(vertices) == cells, "decode(encode(a)) is another architecture"
        assert len(vertices.unique(dim=0)) == len(cells), "encode() gives two architectures the same vertices"
        assert space.encode(cells[::-1]).equal(vertices.flip(0)), "a row of encode() depends on the other rows"
        assert space.encode([]).shape == (0, space.num_vertices)
        assert space.decode(space.encode([])) == []

    def test_decode_refuses_what_encode_cannot_give(self) -> None:
        space = self.make_space()
        vertices = space.encode(_some(space, 2))
        wrong = {
            "too few vertices": vertices[:, :-1],
            "one dimension": vertices[0],
            "floats": vertices.float(),
            "an unknown type": torch.full_like(vertices, len(space.vertex_types)),
            "a negative type": torch.full_like(vertices, -1),
        }
        for what, tensor in wrong.items():
            with _refuses(ArchitectureError, f"decode() of {what}"):
                space.decode(tensor)

    def test_descriptors_tell_architectures_apart(self) -> None:
        space = self.make_space()
        vertices = space.encode(_some(space, self.samples))
        described, nothing = space.describe(vertices), space.describe(vertices[:0])
        for found, empty in zip(described, nothing, strict=True):
            assert found.dtype == torch.float32 and found.shape[:1] == (len(vertices),) and found.ndim == 2
            assert empty.shape == (0, found.shape[1]), "describe() of no architecture has other columns"
            assert bool(found.isfinite().all()), "describe() gives numbers that are not finite"
        together = torch.cat(described, dim=1)
        alone = torch.cat([torch.cat(space.describe(row[None]), dim=1) for row in vertices])
        assert torch.allclose(together, alone, atol=1e-5), "a row of describe() depends on the other rows"
        assert len(together.unique(dim=0)) > 1, "describe() says the same of every architecture"

    def test_places_are_those_of_the_sorted_list(self) -> None:
        space = self.make_space()
        if space.size > self.listable:
            return
        vertices = space.all_vertices()
        order = [place for _, place in sorted((row, i) for i, row in enumerate(vertices.tolist()))]
        assert space.places(vertices[order]).tolist() == list(range(space.size)), "places() is not lexicographic"
        assert space.places(vertices[:0]).shape == (0,)

    def test_edges_join_the_encoded_vertices(self) -> None:
        space = self.make_space()
        sources = predecessors(space.edges)
        assert len(sources) == space.num_vertices, f"edges join {len(sources)} of {space.num_vertices} vertices"
        assert all(sources[1:]), "every vertex but the first must have an edge from an earlier one"

    def test_whatever_the_type_mask_lets_through_is_an_architecture(self) -> None:
        space = self.make_space()
        generator = torch.Generator().manual_seed(0)
        drawn = torch.zeros(self.samples, 1, dtype=torch.int64)
        while drawn.shape[1] < space.num_vertices - 1:
            mask = self._type_mask(space, drawn)
            assert bool(mask.any(1).all()), f"type_mask() leaves nothing to draw after {drawn.tolist()}"
            drawn = torch.cat([drawn, torch.multinomial(mask.double(), 1, generator=generator)], dim=1)
        drawn = torch.nn.functional.pad(drawn, (0, 1), value=1)
        assert space.encode(space.decode(drawn)).equal(drawn), "type_mask() lets through what encode() writes otherwise"

    def test_the_type_mask_lets_every_architecture_through(self) -> None:
        space = self.make_space()
        vertices = space.encode(_some(space, self.samples))
        for v in range(1, space.num_vertices - 1):
            mask = self._type_mask(space, vertices[:, :v])
            assert bool(mask.gather(1, vertices[:, v : v + 1]).all()), f"type_mask() refuses vertex {v} of a network"
            assert self._type_mask(space, vertices[1:2, :v]).equal(mask[1:2]), "a row of type_mask() depends on others"

    def _type_mask(self, space: SearchSpace, prefix: torch.Tensor) -> torch.Tensor:
        before = prefix.clone()
        mask = space.type_mask(prefix)
        assert mask.dtype == torch.bool and mask.shape == (len(prefix), len(space.vertex_types))
        assert not mask[:, :2].any(), "no inner vertex is the input or the output"
        assert prefix.equal(before), "type_mask() must not write into what it is given"
        return mask

    def test_neighbors_are_symmetric(self) -> None:
        space = self.make_space()
        for architecture in _some(space, self.samples):
            neighbors = space.neighbors(architecture)
            assert neighbors and architecture not in neighbors, "an architecture is no neighbour of itself"
            assert len(set(neighbors)) == len(neighbors), "neighbors() lists one twice"
            for neighbor in neighbors:
                assert architecture in space.neighbors(neighbor), f"{neighbor} does not list {architecture}"

    def test_mutation_reaches_every_neighbor_and_nothing_else(self) -> None:
        space = self.make_space()
        for architecture in _some(space, 2):
            neighbors = set(space.neighbors(architecture))
            draws = 30 * len(neighbors)
            with _global_seed(1):
                rng = random.Random(0)
                mutants = [space.mutate(architecture, rng) for _ in range(draws)]
            with _global_seed(2):
                rng = random.Random(0)
                again = [space.mutate(architecture, rng) for _ in range(draws)]
            assert mutants == again, "mutate() must depend on the generator it is given only"
            assert set(mutants) == neighbors, "mutate() must reach exactly the neighbours"

    def test_crossover_mixes_its_parents(self) -> None:
        space = self.make_space()
        parents, mixed = _some(space, self.samples), False
        for first, second in pairwise(parents):
            with _global_seed(1):
                children = [space.crossover(first, second, random.Random(seed)) for seed in range(20)]
            with _global_seed(2):
                again = [space.crossover(first, second, random.Random(seed)) for seed in range(20)]
            assert children == again, "crossover() must depend on the generator it is given only"
            assert all(space.validate(child) == child for child in children)
            for child in children:
                choices = zip(child.choices, first.choices, second.choices, strict=True)
                assert all(c in (a, b) for c, a, b in choices), f"{child} has a choice of neither parent"
            assert space.crossover(first, first, random.Random(0)) == first, "equal parents have another child"
            mixed |= len(set(children)) > 1
        assert mixed, "crossover() always gives the same child"

    def test_decisions_are_drawn_anew_with_a_probability(self) -> None:
        space = self.make_space()
        for architecture in _some(space, self.samples):
            with _global_seed(1):
                drawn = [space.resample(architecture, 0.5, random.Random(seed)) for seed in range(20)]
            with _global_seed(2):
                again = [space.resample(architecture, 0.5, random.Random(seed)) for seed in range(20)]
            assert drawn == again, "resample() must depend on the generator it is given only"
            assert all(space.validate(a) == a for a in drawn) and len(set(drawn)) > 1
            assert space.resample(architecture, 0.0, random.Random(0)) == architecture, "nothing is drawn anew at 0"

    def test_costs_are_sums_over_vertices_where_a_space_says_so(self) -> None:
        space = self.make_space()
        tables = space.vertex_costs(num_classes=self.num_classes)
        if tables is None:
            return
        assert tables.shape == (2, space.num_vertices, len(space.vertex_types)) and bool(tables.isfinite().all())
        vertices = space.encode(_some(space, self.samples))
        sums = tables[:, torch.arange(space.num_vertices), vertices].sum(2)
        costs = torch.stack(space.costs(vertices, num_classes=self.num_classes))
        assert torch.allclose(sums, costs, rtol=1e-9), "the sums of vertex_costs() are not what costs() says"

    def test_canonical_keys_agree_with_networks(self) -> None:
        space = self.make_space()
        cells = [n for a in _some(space, self.samples) for n in (a, *space.neighbors(a)[:10])]
        groups: dict[str, list[Architecture]] = {}
        for architecture in cells:
            key = space.canonical(architecture)
            assert isinstance(key, str)
            assert key == space.canonical(space.parse(space.format(architecture)))
            groups.setdefault(key, []).append(architecture)
        assert len(groups) > 1, "canonical() gives every architecture the same key"
        vertices = space.encode(cells)
        ids = space.canonical_ids(vertices).tolist()
        assert len(set(zip(ids, map(space.canonical, cells), strict=True))) == len(set(ids)) == len(groups), (
            "canonical_ids() and canonical() disagree on which networks are equal"
        )
        assert space.dead_mask(vertices).tolist() == [space.is_dead(a) for a in cells]
        for equal in groups.values():
            assert len({space.is_dead(a) for a in equal}) == 1, f"equal networks, but only some are dead: {equal}"

    def test_graph_shows_the_encoded_vertices(self) -> None:
        import networkx as nx

        space = self.make_space()
        for architecture in _some(space, self.samples):
            graph = space.to_networkx(architecture)
            assert nx.is_directed_acyclic_graph(graph)
            types = [space.vertex_types[t] for t in space.encode([architecture])[0].tolist()]
            assert sorted(graph.nodes[v]["op"] for v in graph) == sorted(types)

    def test_network_fits_its_classes_and_its_cost(self) -> None:
        space = self.make_space()
        for architecture in _some(space, self.networks):
            network = space.build(architecture, self.num_classes).eval()
            with torch.inference_mode():
                logits = network(torch.zeros(2, 3, self.input_size, self.input_size))
            assert logits.shape == (2, self.num_classes) and bool(logits.isfinite().all())
            cost = space.cost(architecture, num_classes=self.num_classes)
            params = sum(p.numel() for p in network.parameters())
            assert abs(cost.params * 1e6 - params) < 0.5, f"cost() counts {cost.params} M, the network has {params}"
            assert math.isfinite(cost.flops) and cost.flops >= 0
        cells = _some(space, self.samples)
        costs = [space.cost(a, num_classes=self.num_classes) for a in cells]
        together = [numbers.tolist() for numbers in space.costs(space.encode(cells), num_classes=self.num_classes)]
        assert together[0] == [c.params for c in costs], "costs() and cost() disagree on parameters"
        assert together[1] == [c.flops for c in costs], "costs() and cost() disagree on FLOPs"


class StrategyConformance:
    """The contract of `Strategy`; override `make`, and `make_space` and `value` where the toy ones do not fit.

    Attributes:
        rounds: how many asks and tells a check goes through.
    """

    rounds = 30

    def make_space(self) -> SearchSpace:
        return ToySpace(length=5)

    def make(self, space: SearchSpace, seed: int) -> Strategy:
        raise NotImplementedError("return a new instance of your strategy")

    def value(self, space: SearchSpace, architecture: Architecture) -> float:
        """What a trial of `architecture` reports; higher is better."""
        return random.Random(space.format(architecture)).uniform(50, 95)

    def _drive(self, strategy: Strategy, rounds: int) -> list[Architecture]:
        """Ask for one to three, tell some of them, the later ones first; everything that was asked."""
        asked: list[Architecture] = []
        for turn in range(rounds):
            batch = strategy.ask(turn % 3 + 1)
            asked += batch
            # One in five trials fails, which a strategy learns by never hearing of it.
            told = [a for i, a in enumerate(batch) if (turn + i) % 5 != 4]
            for architecture in reversed(told):
                strategy.tell(architecture, self.value(strategy.space, architecture))
        return asked

    def test_asks_for_architectures_of_the_space(self) -> None:
        space = self.make_space()
        strategy = self.make(space, 0)
        for n in (1, 3, 7):
            batch = strategy.ask(n)
            assert isinstance(batch, list) and 1 <= len(batch) <= n, f"ask({n}) gave {batch!r}"
            assert all(space.validate(a) == a for a in batch)
        assert strategy.history == [], "ask() must not write the history"

    def test_refuses_wrong_numbers(self) -> None:
        strategy = self.make(self.make_space(), 0)
        for n in (0, -1, 1.5, True, "2", None):
            with _refuses(ConfigError, f"ask({n!r})"):
                strategy.ask(n)  # type: ignore[arg-type]

    def test_same_seed_same_search(self) -> None:
        with _global_seed(1):
            first = self._drive(self.make(self.make_space(), 3), self.rounds)
        with _global_seed(2):
            assert self._drive(self.make(self.make_space(), 3), self.rounds) == first

    def test_instances_are_independent(self) -> None:
        alone = self._drive(self.make(self.make_space(), 0), self.rounds)
        space = self.make_space()
        strategy, other = self.make(space, 0), self.make(space, 1)
        asked = []
        for turn in range(self.rounds):
            self._drive(other, 1)
            batch = strategy.ask(turn % 3 + 1)
            asked += batch
            for a in reversed([a for i, a in enumerate(batch) if (turn + i) % 5 != 4]):
                strategy.tell(a, self.value(space, a))
        assert asked == alone, "another instance in the same process changed the search"

    def test_resumes_from_a_json_state(self) -> None:
        space = self.make_space()
        for cut in (0, 1, self.rounds // 2, self.rounds):
            strategy = self.make(space, 0)
            self._drive(strategy, cut)
            pending = strategy.ask(2)
            text = json.dumps(strategy.state_dict(), allow_nan=False)
            resumed = self.make(space, 99)
            resumed.load_state_dict(json.loads(text))
            assert resumed.history == strategy.history and resumed.best == strategy.best
            for one in (strategy, resumed):
                for architecture in pending:
                    one.tell(architecture, self.value(space, architecture))
            assert self._drive(resumed, self.rounds) == self._drive(strategy, self.rounds), (
                f"resumed after {cut} rounds, the search goes another way"
            )

    def test_a_state_is_a_snapshot(self) -> None:
        space = self.make_space()
        strategy = self.make(space, 0)
        self._drive(strategy, 4)
        state = strategy.state_dict()
        text = json.dumps(state)
        first = self.make(space, 0)
        first.load_state_dict(state)
        self._drive(strategy, self.rounds)
        self._drive(first, self.rounds)
        assert json.dumps(state) == text, "the search goes on writing into a state it gave away or was given"

    def test_refuses_values_that_are_no_numbers(self) -> None:
        space = self.make_space()
        strategy, undisturbed = self.make(space, 0), self.make(space, 0)
        architecture = strategy.ask(1)[0]
        undisturbed.ask(1)
        for value in (math.nan, math.inf, -math.inf, None, "high"):
            with _refuses(ConfigError, f"tell(architecture, {value!r})"):
                strategy.tell(architecture, value)  # type: ignore[arg-type]
        assert strategy.history == [] and strategy.best is None
        assert self._drive(strategy, 4) == self._drive(undisturbed, 4), "a refused tell changed the search"

    def test_refuses_foreign_architectures(self) -> None:
        space = self.make_space()
        strategy, undisturbed = self.make(space, 0), self.make(space, 0)
        for foreign in _foreign(space):
            with _refuses(ArchitectureError, f"tell({foreign!r}, 1.0)"):
                strategy.tell(foreign, 1.0)
        assert strategy.history == [] and strategy.best is None
        assert self._drive(strategy, 4) == self._drive(undisturbed, 4), "a refused tell changed the search"

    def test_hears_trials_in_any_order(self) -> None:
        space = self.make_space()
        strategy = self.make(space, 0)
        waiting: list[Architecture] = []
        told = []
        for turn in range(self.rounds):
            waiting += strategy.ask(3)
            # Two of three come back, the newest first, the next one after a long wait.
            done = (waiting.pop(), waiting.pop(0)) if turn > 2 and len(waiting) > 1 else ()
            for architecture in done:
                strategy.tell(architecture, value := self.value(space, architecture))
                told.append((architecture, value))
        assert strategy.history == told, "the history must hold every tell, in order"

    def test_asks_go_on_when_every_trial_fails(self) -> None:
        space = self.make_space()
        strategy = self.make(space, 0)
        asked: list[Architecture] = []
        while len(asked) < 2 * min(space.size, 50):
            batch = strategy.ask(4)
            asked += batch
            if len(batch) < 4:
                for architecture in asked:
                    strategy.tell(architecture, self.value(space, architecture))
                assert strategy.ask(1) == [], "it waited for tells: trials that fail would stop the search"
                return

    def test_hears_of_architectures_it_never_asked_for(self) -> None:
        space = self.make_space()
        strategy = self.make(space, 0)
        for architecture in _some(space, 5, seed=11):
            strategy.tell(architecture, self.value(space, architecture))
        assert len(strategy.history) == 5
        assert all(space.validate(a) for a in self._drive(strategy, self.rounds))

    def test_hears_one_architecture_twice(self) -> None:
        space = self.make_space()
        strategy = self.make(space, 0)
        architecture = strategy.ask(1)[0]
        for value in (60.0, 70.0):
            strategy.tell(architecture, value)
        assert strategy.best == (architecture, 70.0)
        assert len(strategy.ask(1)) == 1

    def test_best_is_the_incumbent(self) -> None:
        space = self.make_space()
        strategy = self.make(space, 0)
        assert strategy.best is None
        first, second, third = list(dict.fromkeys(_some(space, 50)))[:3]
        for architecture, value in ((first, 1.0), (second, 2.0), (third, 2.0)):
            strategy.tell(architecture, value)
        assert strategy.best == (second, 2.0), "the incumbent is the best told, the earliest among equals"

    def test_a_space_can_run_out(self) -> None:
        space = self.make_space()
        strategy = self.make(space, 0)
        for _ in range(2 * min(space.size, 200)):
            batch = strategy.ask(2)
            assert len(batch) <= 2
            for architecture in batch:
                strategy.tell(architecture, self.value(space, architecture))
            if len(batch) < 2:
                assert strategy.ask(1) == [], "after a short answer nothing may be left"
                return


class PredictorConformance:
    """The contract of `Predictor`; override `make`, `make_space`, and `make_task` where a dataset is read.

    Attributes:
        samples: how many random architectures are scored.
        tolerance: relative, for scores that must be equal up to rounding.
    """

    samples = 20
    tolerance = 1e-4

    def make_space(self) -> SearchSpace:
        return ToySpace()

    def make(self, space: SearchSpace) -> Predictor:
        raise NotImplementedError("return a new instance of your predictor")

    def make_task(self, seed: int = 0) -> Task:
        """A dataset as your predictor reads it: 64 random features of 30 images in 3 classes."""
        generator = torch.Generator().manual_seed(seed)
        return Task(torch.randn(30, 64, generator=generator), torch.arange(30) % 3)

    def _scores(self, architectures: Sequence[Architecture] | None = None) -> torch.Tensor:
        space = self.make_space()
        cells = _some(space, self.samples) if architectures is None else architectures
        return self.make(space).predict(self.make_task(), cells)

    def _assert_close(self, a: torch.Tensor, b: torch.Tensor, message: str) -> None:
        assert a.shape == b.shape and torch.allclose(a, b, rtol=self.tolerance, atol=1e-6), message

    def test_one_finite_score_each(self) -> None:
        scores = self._scores()
        assert scores.dtype == torch.float32 and scores.shape == (self.samples,), f"{scores.dtype} {scores.shape}"
        assert bool(scores.isfinite().all())
        assert not scores.requires_grad, "scores must not carry a gradient graph"

    def test_batches_of_one_and_none(self) -> None:
        assert self._scores(_some(self.make_space(), 1)).shape == (1,)
        assert self._scores([]).shape == (0,) and self._scores([]).dtype == torch.float32

    def test_tells_architectures_apart(self) -> None:
        assert len(self._scores().unique()) > 1, "every architecture has the same score"

    def test_same_input_same_scores(self) -> None:
        with _global_seed(1):
            first = self._scores()
        with _global_seed(2):
            assert self._scores().equal(first), "scores depend on the global random state"
        space = self.make_space()
        predictor, task, cells = self.make(space), self.make_task(), _some(space, self.samples)
        assert predictor.predict(task, cells).equal(predictor.predict(task, cells)), "a second call scores differently"

    def test_scores_follow_the_order(self) -> None:
        cells = _some(self.make_space(), self.samples)
        self._assert_close(self._scores(cells[::-1]), self._scores(cells).flip(0), "scores depend on the order")

    def test_scores_do_not_depend_on_the_batch(self) -> None:
        cells = _some(self.make_space(), self.samples)
        alone = torch.cat([self._scores([a]) for a in cells[:5]])
        self._assert_close(alone, self._scores(cells)[:5], "an architecture scores differently in a batch")
        twice = self._scores([cells[0], *cells, cells[0]])
        self._assert_close(twice[[0, 1, -1]], twice[:1].expand(3), "equal architectures score differently")

    def test_any_sequence_will_do(self) -> None:
        cells = _some(self.make_space(), self.samples)
        assert self._scores(tuple(cells)).equal(self._scores(cells))

    def test_refuses_foreign_architectures(self) -> None:
        space = self.make_space()
        predictor = self.make(space)
        for foreign in _foreign(space):
            with _refuses(ArchitectureError, f"predict(task, [{foreign!r}])"):
                predictor.predict(self.make_task(), [*_some(space, 1), foreign])

    def test_the_task_matters_exactly_when_it_is_needed(self) -> None:
        space = self.make_space()
        predictor, cells = self.make(space), _some(space, self.samples)
        first, second = (predictor.predict(self.make_task(seed), cells) for seed in (0, 1))
        if predictor.needs_task:
            with _refuses(ConfigError, "predict(None, architectures) with needs_task"):
                predictor.predict(None, cells)
            assert not first.equal(second), "two datasets give the same scores, although needs_task is True"
        else:
            assert predictor.predict(None, cells).equal(first), "scores change with a task that is not needed"
            assert first.equal(second), "scores depend on the dataset, although needs_task is False"
