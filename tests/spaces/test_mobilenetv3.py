from __future__ import annotations

import csv
import gzip
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metad2a_plugin.errors import ArchitectureError, ConfigError
from metad2a_plugin.spaces import Architecture
from metad2a_plugin.spaces.mobilenetv3.layout import EDGES, RESOLUTIONS
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space

SPACE = MobileNetV3Space()
GOOD = "k5e4-k3e3-k7e6+k7e6-k3e3+k3e4-k3e3-k5e6-k7e3+k3e3-k3e3+k7e6-k7e6-k7e6-k3e3"
CONFIG: dict[str, Any] = {
    "ks": [5, 3, 7, 3, 7, 3, 3, 3, 3, 3, 5, 7, 3, 3, 3, 3, 7, 7, 7, 3],
    "e": [4, 3, 6, 3, 6, 3, 3, 3, 4, 3, 6, 3, 3, 3, 3, 3, 6, 6, 6, 3],
    "d": [3, 2, 4, 2, 4],
    "r": 224,
}
SHALLOW, DEEP = ("+".join(["-".join(["k7e4"] * depth)] * 5) for depth in (2, 4))


def lists(options: tuple[int, ...], length: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.sampled_from(options), min_size=length, max_size=length)


# OFA's dicts: what they say of layers beyond a stage's depth is arbitrary.
configs = st.fixed_dictionaries(
    {
        "ks": lists((3, 5, 7), 20),
        "e": lists((3, 4, 6), 20),
        "d": lists((2, 3, 4), 5),
        "r": st.sampled_from(RESOLUTIONS),
    }
)
networks = configs.map(lambda config: SPACE.from_config(config)[0])


def used(config: dict[str, Any]) -> list[int]:
    return [i for i in range(20) if i % 4 < config["d"][i // 4]]


# -- points --------------------------------------------------------------------------------------
def test_the_size_is_the_number_of_different_networks() -> None:
    assert SPACE.size == (9**2 + 9**3 + 9**4) ** 5 == 21_758_655_492_572_485_851


def test_every_network_is_as_likely_as_any_other() -> None:
    rng = random.Random(0)
    draws = [SPACE.format(SPACE.sample(rng)).split("+") for _ in range(12_000)]
    for stage in range(5):
        depths = Counter(draw[stage].count("-") + 1 for draw in draws)
        for depth in (2, 3, 4):
            expected = 12_000 * 9**depth / 7371
            assert abs(depths[depth] - expected) < 4 * expected**0.5
    # All 7,371 stages, by the chi-square statistic of 60,000 draws; it has mean 7,370 and standard deviation 121.
    stages = Counter(stage for draw in draws for stage in draw)
    statistic = sum((n - 60_000 / 7371) ** 2 for n in stages.values()) / (60_000 / 7371)
    statistic += (7371 - len(stages)) * 60_000 / 7371
    assert abs(statistic - 7370) < 500
    # And stages are independent of each other.
    assert abs(np.corrcoef(np.array([[s.count("-") for s in draw] for draw in draws]).T)[0, 1]) < 0.04


@given(configs, st.integers(0, 2**32))
def test_equal_networks_are_equal_whatever_is_said_of_unused_layers(config: dict[str, Any], seed: int) -> None:
    rng = random.Random(seed)
    other = {name: list(config[name]) for name in ("ks", "e")} | {"d": config["d"], "r": config["r"]}
    for i in set(range(20)) - set(used(config)):
        other["ks"][i], other["e"][i] = rng.choice([0, 3, 5, 7, None]), rng.choice([0, 3, 4, 6, None])
    one, two = (SPACE.from_config(c)[0] for c in (config, other))
    assert one == two and hash(one) == hash(two) and SPACE.canonical(one) == SPACE.canonical(two)


@given(configs, configs)
def test_different_networks_have_different_keys(one: dict[str, Any], two: dict[str, Any]) -> None:
    same = one["d"] == two["d"] and all(one[n][i] == two[n][i] for n in ("ks", "e") for i in used(one))
    a, b = (SPACE.from_config(c)[0] for c in (one, two))
    assert (a == b) == same == (SPACE.canonical(a) == SPACE.canonical(b)) == (SPACE.format(a) == SPACE.format(b))


@given(networks)
def test_neighbors_are_one_change_away(network: Architecture) -> None:
    neighbors, mine = SPACE.neighbors(network), SPACE.layers(network)
    assert len(set(neighbors)) == len(neighbors)
    layers = sum(map(len, mine))
    longer, shorter = sum(len(s) < 4 for s in mine), sum(len(s) > 2 for s in mine)
    assert len(neighbors) == 4 * layers + 9 * longer + shorter
    for other in neighbors:
        [(before, after)] = [(a, b) for a, b in zip(mine, SPACE.layers(other), strict=True) if a != b]
        if len(before) == len(after):
            [(one, two)] = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
            assert (one[0] != two[0]) + (one[1] != two[1]) == 1
        else:
            short, long = sorted((before, after), key=len)
            assert long[:-1] == short


def test_mutants_are_uniform_over_neighbors_and_reach_every_depth() -> None:
    network, rng = SPACE.parse(GOOD), random.Random(0)
    neighbors = SPACE.neighbors(network)
    counts = Counter(SPACE.mutate(network, rng) for _ in range(60 * len(neighbors)))
    assert set(counts) == set(neighbors) and min(counts.values()) > 25 and max(counts.values()) < 110
    walker, depths = network, Counter[int]()
    for _ in range(5000):
        walker = SPACE.mutate(walker, rng)
        depths.update(SPACE.to_config(walker)["d"])
    assert depths[4] > depths[3] > depths[2], "a walk sees depths as often as networks have them"


@given(networks, networks, st.integers(0, 2**32))
def test_children_have_layers_of_their_parents(one: Architecture, two: Architecture, seed: int) -> None:
    child = SPACE.crossover(one, two, random.Random(seed))
    for stage, first, second in zip(*map(SPACE.layers, (child, one, two)), strict=True):
        assert len(stage) in (len(first), len(second))
        for i, (kernel, expand) in enumerate(stage):
            givers = [parent[i] for parent in (first, second) if i < len(parent)]
            assert kernel in [k for k, _ in givers] and expand in [e for _, e in givers]


def test_a_longer_stage_is_not_filled_with_what_the_shorter_parent_lacks() -> None:
    shallow, deep = map(SPACE.parse, (SHALLOW.replace("k7e4", "k5e6"), DEEP))
    children = [SPACE.crossover(shallow, deep, random.Random(seed)) for seed in range(50)]
    lengths = Counter(len(stage) for child in children for stage in SPACE.layers(child))
    assert lengths.keys() == {2, 4} and min(lengths.values()) > 80
    for child in children:
        assert all(layer == (7, 4) for stage in SPACE.layers(child) for layer in stage[2:])


def test_it_is_too_large_to_list() -> None:
    for method in (SPACE.enumerate, SPACE.all_vertices):
        with pytest.raises(ConfigError, match=r"2.18e\+19 networks, too many to list; draw some with sample"):
            method()


# -- text and dicts ------------------------------------------------------------------------------
@given(configs)
def test_text_dict_and_tensor_say_the_same(config: dict[str, Any]) -> None:
    network, resolution = SPACE.from_config(config)
    assert resolution == config["r"]
    assert SPACE.parse(SPACE.format(network)) == SPACE.parse(f" {SPACE.format(network)}\n") == network
    written = SPACE.to_config(network, resolution)
    assert SPACE.from_config(written) == (network, resolution)
    assert written["d"] == config["d"] and written["r"] == config["r"]
    assert all(written[name][i] == config[name][i] for name in ("ks", "e") for i in used(config))
    layers = [*zip(written["ks"], written["e"], strict=True)]
    assert SPACE.layers(network) == tuple(tuple(layers[4 * s : 4 * s + d]) for s, d in enumerate(config["d"]))


def test_the_notation() -> None:
    assert SPACE.to_config(SPACE.parse(GOOD)) == CONFIG
    assert SPACE.format(SPACE.from_config(CONFIG)[0]) == GOOD


@pytest.mark.parametrize(
    "dialect",
    [
        {"ks": CONFIG["ks"], "e": CONFIG["e"], "d": CONFIG["d"]},
        CONFIG | {"wid": None, "r": [224]},
        {"ks": CONFIG["ks"], "e": tuple(CONFIG["e"]), "d": CONFIG["d"], "image_size": 224},
        CONFIG | {"ks": np.array(CONFIG["ks"]), "e": torch.tensor(CONFIG["e"]).tolist(), "r": np.int64(224)},
    ],
    ids=["set_active_subnet", "evolution finder", "MobileNetArchEncoder", "arrays"],
)
def test_ofas_dialects_are_read(dialect: dict[str, Any]) -> None:
    network, resolution = SPACE.from_config(dialect)
    assert SPACE.format(network) == GOOD and resolution == 224
    assert all(type(c) is int for c in network.choices)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty; expected the form k3e6"),
        (" \n", "empty"),
        (None, "got NoneType"),
        (42, "got int: 42"),
        ([CONFIG], "got list"),
        (GOOD.rsplit("+", 1)[0], "expected 5 stages joined by '[+]', got 4"),
        (GOOD + "+k3e3-k3e3", "got 6"),
        (GOOD.replace("k7e6-k3e3+", "k7e6+", 1), "stage 2 must have 2, 3 or 4 layers joined by '-', got 1: 'k7e6'"),
        (GOOD + "-k3e3", "stage 5 must have 2, 3 or 4 layers joined by '-', got 5"),
        (GOOD.replace("k5e4", "k4e4"), "the kernel of layer 1 of stage 1 must be 3, 5 or 7, got 'k4e4'"),
        (GOOD.replace("k5e6", "k5e5"), "the expand ratio of layer 3 of stage 3 must be 3, 4 or 6, got 'k5e5'"),
        (GOOD.replace("k5e6", "5x6"), "layer 3 of stage 3 must read k<kernel>e<expand ratio>, such as k5e4, got '5x6'"),
        (GOOD.replace("k5e6", ""), "got ''"),
    ],
)
def test_parse_says_what_is_wrong(text: object, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        SPACE.parse(text)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (GOOD, "expected a dict with ks, e, d and r, got str"),
        (CONFIG | {"kernel": 3}, "unknown entry 'kernel'; a configuration has ks, e, d and r"),
        (CONFIG | {"wid": 1.2}, "wid must be None, got 1.2; the width is an option of build and cost"),
        ({n: CONFIG[n] for n in ("ks", "e")}, "d must be 5 values, each 2, 3 or 4, got none"),
        (CONFIG | {"d": [2, 3, 4]}, r"d must be 5 values, each 2, 3 or 4, got 3 values: \[2, 3, 4\]"),
        (CONFIG | {"d": [2, 3, 4, 5, 2]}, "d must be 5 values, each 2, 3 or 4, got 5 at index 3"),
        (CONFIG | {"ks": 7}, "ks must be 20 values, each 3, 5 or 7, got 7"),
        (CONFIG | {"ks": [9, *CONFIG["ks"][1:]]}, "ks must be 20 values, each 3, 5 or 7, got 9 at index 0"),
        (CONFIG | {"e": [*CONFIG["e"][:-1], None]}, "e must be 20 values, each 3, 4 or 6, got None at index 19"),
        (CONFIG | {"r": 230}, "r must be a resolution of 128 to 224 pixels in steps of 4, got 230"),
        (CONFIG | {"r": [160, 224]}, r"got \[160, 224\]"),
        (CONFIG | {"r": None}, "got None"),
    ],
)
def test_from_config_says_what_is_wrong(config: Any, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        SPACE.from_config(config)


def test_to_config_refuses_other_resolutions() -> None:
    with pytest.raises(ArchitectureError, match="128 to 224 pixels"):
        SPACE.to_config(SPACE.parse(GOOD), 64)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ((0,) * 44, "45 choices, each 0 to 2"),
        ((0,) * 44 + (3,), "45 choices"),
        ([0] * 45, "45 choices"),
        ((0.0,) * 45, "45 choices"),
        ((0, 0, 1, *[0] * 42), "layer 3 of stage 1 is beyond the stage's depth of 2, so its choices must be 0"),
        ((*[0] * 39, 2, *[0] * 4, 1), "layer 4 of stage 5 is beyond the stage's depth of 3"),
    ],
)
def test_validate_says_what_is_wrong(choices: Any, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        SPACE.validate(Architecture("mobilenetv3", choices))


# -- tensors -------------------------------------------------------------------------------------
@given(st.lists(networks, max_size=5))
def test_decode_inverts_encode(batch: list[Architecture]) -> None:
    vertices = SPACE.encode(batch)
    assert vertices.shape == (len(batch), 22) and vertices.dtype == torch.int64
    assert SPACE.decode(vertices) == batch and torch.equal(SPACE.simplify(vertices), vertices)
    assert not SPACE.dead_mask(vertices).any()


# -- descriptors ---------------------------------------------------------------------------------
def test_descriptors_say_what_a_network_is_made_of() -> None:
    structure, details = SPACE.describe(SPACE.encode([SPACE.parse(GOOD), SPACE.parse(DEEP)]))
    assert structure.shape == (2, 25) and details.shape == (2, 225)
    depth, kernel, expand = structure[:, 7:].split(6, dim=1)
    assert depth.tolist() == [[3, 2, 4, 2, 4, 15], [4, 4, 4, 4, 4, 20]]
    assert kernel[0, :2].tolist() == [5, 5] and kernel[1].tolist() == [7] * 6 and expand[1].tolist() == [4] * 6
    assert expand[0, 0] == pytest.approx(13 / 3)
    one_hot = details[0, :135].split([60, 60, 15])
    # Every layer that is there has one kernel and one expand ratio, every stage one depth, and every two stages a pair.
    assert [part.sum().item() for part in (*one_hot, details[0, 135:])] == [15, 15, 5, 10]
    params, macs = SPACE.costs(SPACE.encode([SPACE.parse(DEEP)]))
    assert structure[1, :2].tolist() == pytest.approx([(macs / 200).log().item(), (params / 5).log().item()])


def test_balanced_draws_have_each_depth_as_often() -> None:
    rng = random.Random(0)
    drawn = [SPACE.to_config(SPACE.sample_balanced(rng)) for _ in range(2000)]
    for name, options in (("d", (2, 3, 4)), ("ks", (3, 5, 7)), ("e", (3, 4, 6))):
        values = Counter(v for c in drawn for i, v in enumerate(c[name]) if name == "d" or i in used(c))
        total = sum(values.values())
        assert all(abs(values[o] / total - 1 / 3) < 0.02 for o in options), values


# -- types that may follow -----------------------------------------------------------------------
@given(st.integers(0, 2**32))
def test_what_is_drawn_type_by_type_is_a_network_in_its_own_form(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.zeros(3, 1, dtype=torch.int64)
    for _ in range(20):
        mask = SPACE.type_mask(drawn)
        drawn = torch.cat([drawn, torch.multinomial(mask.double(), 1, generator=generator)], dim=1)
    drawn = torch.nn.functional.pad(drawn, (0, 1), value=1)
    assert torch.equal(SPACE.encode(SPACE.decode(drawn)), drawn) and torch.equal(SPACE.simplify(drawn), drawn)


@given(networks)
def test_every_network_can_be_drawn_type_by_type(network: Architecture) -> None:
    vertices = SPACE.encode([network])
    ways = 1
    for v in range(1, 21):
        mask = SPACE.type_mask(vertices[:, :v])
        assert mask[0, vertices[0, v]]
        ways *= int(mask.sum()) if (v - 1) % 4 else 1
    # After each stage's first layer: nine kinds for every layer there is, one for every other.
    assert ways == 9 ** (sum(SPACE.to_config(network)["d"]) - 5)


def test_a_stage_s_depth_and_what_lies_beyond_it_are_settled() -> None:
    [types] = SPACE.encode([SPACE.parse(SHALLOW)]).tolist()
    prefix = torch.tensor([types])
    assert SPACE.type_mask(prefix[:, :1]).sum() == SPACE.type_mask(prefix[:, :5]).sum() == 27
    second, third = (SPACE.type_mask(prefix[:, :v]).nonzero()[:, 1].tolist() for v in (2, 3))
    assert {SPACE.vertex_types[t][0] for t in second} == {"2"} and len(second) == 9
    assert [SPACE.vertex_types[t] for t in third] == ["2-3-3"]


def test_vertices_name_depth_kernel_and_expand_ratio() -> None:
    [types] = SPACE.encode([SPACE.parse(GOOD)]).tolist()
    assert len(SPACE.vertex_types) == 29
    names = [SPACE.vertex_types[t] for t in types]
    assert names[:9] == ["input", "3-5-4", "3-3-3", "3-7-6", "3-3-3", "2-7-6", "2-3-3", "2-3-3", "2-3-3"]
    assert names[-5:] == ["4-7-6", "4-7-6", "4-7-6", "4-3-3", "output"]


@given(st.lists(configs, min_size=1, max_size=4), st.integers(0, 2**32))
def test_vertices_of_unused_layers_do_not_matter(batch: list[dict[str, Any]], seed: int) -> None:
    networks = [SPACE.from_config(config)[0] for config in batch]
    vertices, rng = SPACE.encode(networks), random.Random(seed)
    noisy = vertices.clone()
    for row, config in enumerate(batch):
        for i in set(range(20)) - set(used(config)):
            noisy[row, i + 1] = 2 + 9 * (config["d"][i // 4] - 2) + rng.randrange(9)
    assert torch.equal(SPACE.simplify(noisy), vertices) and SPACE.decode(noisy) == networks
    both = torch.cat([noisy, vertices])
    ids = SPACE.canonical_ids(both).tolist()
    assert ids[: len(batch)] == ids[len(batch) :] and len(set(ids)) == len(set(networks))
    for costs in SPACE.costs(both):
        assert torch.equal(costs[: len(batch)], costs[len(batch) :])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: 1}, r"row 1, \[1, .* is no mobilenetv3 network: expected 0 \(input\), 20 layers 2 to 28, 1 \(output\)"),
        ({21: 0}, "row 1"),
        ({5: 1}, "row 1"),
        ({5: 29}, "row 1"),
        ({8: 20}, r"row 1 .* the four layers of stage 2 must agree on its depth, got \[2, 2, 2, 4\]"),
    ],
)
def test_decode_refuses_rows_that_are_no_network(change: dict[int, int], message: str) -> None:
    vertices = SPACE.encode([SPACE.parse(GOOD)] * 3)
    for vertex, kind in change.items():
        vertices[1, vertex] = kind
    for method in (SPACE.decode, SPACE.simplify, SPACE.canonical_ids, SPACE.dead_mask, SPACE.costs):
        with pytest.raises(ArchitectureError, match=message):
            method(vertices)


def test_the_graph_is_a_chain() -> None:
    graph = SPACE.to_networkx(SPACE.parse(GOOD))
    assert nx.dag_longest_path(graph) == list(range(22)) and set(graph.edges) == set(EDGES)
    assert graph.nodes[1]["op"] == "3-5-4" and graph.name == GOOD


# -- costs ---------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def measured(data_root: Path) -> list[dict[str, str]]:
    with gzip.open(data_root / "ofa" / "imagenet_top1_w1.0_r224.csv.gz", "rt") as file:
        return list(csv.DictReader(file))


def test_costs_are_those_of_the_measured_subnets(measured: list[dict[str, str]]) -> None:
    configs = [{name: [*map(int, row[name].split("-"))] for name in ("ks", "e", "d")} for row in measured]
    params, flops = SPACE.costs(SPACE.encode([SPACE.from_config(config)[0] for config in configs]))
    assert params.tolist() == [int(row["params"]) / 1e6 for row in measured]
    assert flops.tolist() == [int(row["macs"]) / 1e6 for row in measured]


def test_costs_of_the_smallest_and_the_largest_network() -> None:
    # Guards the counts where the measured subnets are absent.
    small, large = (SPACE.parse(text) for text in (SHALLOW.replace("k7e4", "k3e3"), DEEP.replace("k7e4", "k7e6")))
    assert (SPACE.cost(small).params, SPACE.cost(small).flops) == (3.410792, 121.278672)
    assert (SPACE.cost(large).params, SPACE.cost(large).flops) == (7.66476, 566.170656)
    assert SPACE.cost(large, num_classes=10).params == pytest.approx(7.66476 - 990 * 1281 / 1e6)


def test_cost_grows_with_every_option() -> None:
    network = SPACE.parse(GOOD)
    base = SPACE.cost(network)
    assert SPACE.cost(network, width=1.2).params > base.params and SPACE.cost(network, width=1.2).flops > base.flops
    smaller = SPACE.cost(network, input_size=160)
    assert smaller.params == base.params and smaller.flops == pytest.approx(base.flops * (160 / 224) ** 2, rel=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 16}, "unknown option 'channels' of the network; those of the space 'mobilenetv3' are width"),
        ({"input_size": 1.5}, "input_size must be an integer"),
        ({"width": 0}, "width must be a positive number, such as 1.0 or 1.2, got 0"),
        ({"width": float("inf")}, "width"),
        ({"width": True}, "width"),
        ({"width": "1.2"}, "width"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    network = SPACE.parse(GOOD)
    calls = [lambda: SPACE.cost(network, **options), lambda: SPACE.costs(SPACE.encode([network]), **options)]
    if "width" in options:
        calls.append(lambda: SPACE.build(network, **{"num_classes": 10} | options))
    for call in calls:
        with pytest.raises(ConfigError, match=message):
            call()


def test_a_classifier_of_no_class_is_refused() -> None:
    network = SPACE.parse(GOOD)
    for call in (SPACE.cost, lambda network, **options: SPACE.costs(SPACE.encode([network]), **options)):
        with pytest.raises(ConfigError, match="num_classes must be an integer from 1 to 10,000,000, got 0"):
            call(network, num_classes=0)
    with pytest.raises(ConfigError, match="num_classes must be an integer from 1 to 10,000,000, got 0"):
        SPACE.build(network, num_classes=0)


def test_options_of_networks_are_checked() -> None:
    assert SPACE.check_options({"width": 1.2}) == {"width": 1.2} and SPACE.check_options({}) == {}
    with pytest.raises(ConfigError, match="width must be a positive number"):
        SPACE.check_options({"width": 0})
    for name in ("channels", "input_size", "num_classes"):
        with pytest.raises(ConfigError, match=f"unknown option '{name}' .* those of the space 'mobilenetv3' are width"):
            SPACE.check_options({name: 16})


def test_importing_the_space_does_not_import_torch() -> None:
    code = "import sys, metad2a_plugin.spaces.mobilenetv3.space; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
