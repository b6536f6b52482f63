"""The conformance kit for search spaces."""

from __future__ import annotations

import math
import random
from contextlib import suppress
from functools import partial
from itertools import pairwise

import torch

from metad2a_plugin.errors import ArchitectureError, ConfigError
from metad2a_plugin.nn.dag import predecessors
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.testing.helpers import foreign_values, refuses, reproducible, some


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
            drawn = reproducible(draw.__name__, draw, n=self.samples)
            assert len(set(drawn)) > 1, f"{draw.__name__}() always gives the same architecture"
            assert all(a.space == space.name and space.validate(a) == a for a in drawn)

    def test_enumerates_every_architecture_once(self) -> None:
        space = self.make_space()
        if space.size > self.listable:
            with suppress(ConfigError):  # a large space may refuse
                space.validate(next(iter(space.enumerate())))
            return
        cells = list(space.enumerate())
        assert len(cells) == len(set(cells)) == space.size, "enumerate() must list `size` different architectures"
        assert set(some(space, self.samples)) <= set(cells), "sample() draws what enumerate() does not list"

    def test_parse_reads_what_format_writes(self) -> None:
        space = self.make_space()
        cells = set(some(space, self.samples))
        texts = {space.format(a): a for a in cells}
        assert len(texts) == len(cells), "format() writes two architectures alike"
        for text, architecture in texts.items():
            assert space.parse(text) == architecture, f"parse(format(a)) is another architecture: {text!r}"

    def test_parse_refuses_nonsense(self) -> None:
        space = self.make_space()
        for text in ("", "no such architecture", None, 2.5):
            with refuses(ArchitectureError, f"parse({text!r})"):
                space.parse(text)

    def test_foreign_architectures_are_refused(self) -> None:
        space = self.make_space()
        [architecture] = some(space, 1)
        for foreign in foreign_values(space):
            for method in (space.validate, space.format, space.neighbors, space.canonical, space.is_dead, space.cost):
                with refuses(ArchitectureError, f"{method.__name__}({foreign!r})"):
                    method(foreign)
            for many in (space.encode, space.decode):
                with refuses(ArchitectureError, f"{many.__name__}([{foreign!r}])"):
                    many([foreign])
            with refuses(ArchitectureError, f"mutate({foreign!r})"):
                space.mutate(foreign, random.Random(0))
            for first, second in ((foreign, architecture), (architecture, foreign)):
                with refuses(ArchitectureError, f"crossover({first!r}, {second!r})"):
                    space.crossover(first, second, random.Random(0))

    def test_decode_inverts_encode(self) -> None:
        space = self.make_space()
        cells = list(dict.fromkeys(some(space, self.samples)))
        vertices = space.encode(cells)
        assert vertices.dtype == torch.int64 and vertices.shape == (len(cells), space.num_vertices)
        assert int(vertices.min()) >= 0 and int(vertices.max()) < len(space.vertex_types)
        assert space.decode(vertices) == cells, "decode(encode(a)) is another architecture"
        assert space.encode(vertices).equal(vertices), "encode() must return what is encoded already"
        assert space.decode(cells) == cells, "decode() must return what is no tensor as a list"
        assert len(vertices.unique(dim=0)) == len(cells), "encode() gives two architectures the same vertices"
        assert space.encode(cells[::-1]).equal(vertices.flip(0)), "a row of encode() depends on the other rows"
        assert space.encode([]).shape == (0, space.num_vertices)
        assert space.decode(space.encode([])) == []

    def test_decode_refuses_what_encode_cannot_give(self) -> None:
        space = self.make_space()
        vertices = space.encode(some(space, 2))
        wrong = {
            "too few vertices": vertices[:, :-1],
            "one dimension": vertices[0],
            "floats": vertices.float(),
            "an unknown type": torch.full_like(vertices, len(space.vertex_types)),
            "a negative type": torch.full_like(vertices, -1),
        }
        for what, tensor in wrong.items():
            for method in (space.decode, space.encode):
                with refuses(ArchitectureError, f"{method.__name__}() of {what}"):
                    method(tensor)

    def test_descriptors_tell_architectures_apart(self) -> None:
        space = self.make_space()
        vertices = space.encode(some(space, self.samples))
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
        vertices = space.encode(some(space, self.samples))
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
        for architecture in some(space, self.samples):
            neighbors = space.neighbors(architecture)
            assert neighbors and architecture not in neighbors, "an architecture is no neighbour of itself"
            assert len(set(neighbors)) == len(neighbors), "neighbors() lists one twice"
            for neighbor in neighbors:
                assert architecture in space.neighbors(neighbor), f"{neighbor} does not list {architecture}"

    def test_mutation_reaches_every_neighbor_and_nothing_else(self) -> None:
        space = self.make_space()
        for architecture in some(space, 2):
            neighbors = set(space.neighbors(architecture))
            mutants = reproducible("mutate", partial(space.mutate, architecture), n=30 * len(neighbors))
            assert set(mutants) == neighbors, "mutate() must reach exactly the neighbours"

    def test_crossover_mixes_its_parents(self) -> None:
        space = self.make_space()
        parents, mixed = some(space, self.samples), False
        for first, second in pairwise(parents):
            children = reproducible("crossover", partial(space.crossover, first, second), seeds=20)
            assert all(space.validate(child) == child for child in children)
            for child in children:
                choices = zip(child.choices, first.choices, second.choices, strict=True)
                assert all(c in (a, b) for c, a, b in choices), f"{child} has a choice of neither parent"
            assert space.crossover(first, first, random.Random(0)) == first, "equal parents have another child"
            mixed |= len(set(children)) > 1
        assert mixed, "crossover() always gives the same child"

    def test_decisions_are_drawn_anew_with_a_probability(self) -> None:
        space = self.make_space()
        for architecture in some(space, self.samples):
            drawn = reproducible("resample", partial(space.resample, architecture, 0.5), seeds=20)
            assert all(space.validate(a) == a for a in drawn) and len(set(drawn)) > 1
            assert space.resample(architecture, 0.0, random.Random(0)) == architecture, "nothing is drawn anew at 0"

    def test_costs_are_sums_over_vertices_where_a_space_says_so(self) -> None:
        space = self.make_space()
        tables = space.vertex_costs(num_classes=self.num_classes)
        if tables is None:
            return
        assert tables.shape == (2, space.num_vertices, len(space.vertex_types)) and bool(tables.isfinite().all())
        vertices = space.encode(some(space, self.samples))
        sums = tables[:, torch.arange(space.num_vertices), vertices].sum(2)
        costs = torch.stack(space.costs(vertices, num_classes=self.num_classes))
        assert torch.allclose(sums, costs, rtol=1e-9), "the sums of vertex_costs() are not what costs() says"

    def test_canonical_keys_agree_with_networks(self) -> None:
        space = self.make_space()
        cells = [n for a in some(space, self.samples) for n in (a, *space.neighbors(a)[:10])]
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
        for architecture in some(space, self.samples):
            graph = space.to_networkx(architecture)
            assert nx.is_directed_acyclic_graph(graph)
            types = [space.vertex_types[t] for t in space.encode([architecture])[0].tolist()]
            assert sorted(graph.nodes[v]["op"] for v in graph) == sorted(types)

    def test_network_fits_its_classes_and_its_cost(self) -> None:
        space = self.make_space()
        for architecture in some(space, self.networks):
            network = space.build(architecture, self.num_classes).eval()
            with torch.inference_mode():
                logits = network(torch.zeros(2, 3, self.input_size, self.input_size))
            assert logits.shape == (2, self.num_classes) and bool(logits.isfinite().all())
            cost = space.cost(architecture, num_classes=self.num_classes)
            params = sum(p.numel() for p in network.parameters())
            assert abs(cost.params * 1e6 - params) < 0.5, f"cost() counts {cost.params} M, the network has {params}"
            assert math.isfinite(cost.flops) and cost.flops >= 0
        cells = some(space, self.samples)
        costs = [space.cost(a, num_classes=self.num_classes) for a in cells]
        together = [numbers.tolist() for numbers in space.costs(space.encode(cells), num_classes=self.num_classes)]
        assert together[0] == [c.params for c in costs], "costs() and cost() disagree on parameters"
        assert together[1] == [c.flops for c in costs], "costs() and cost() disagree on FLOPs"
