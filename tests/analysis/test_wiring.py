from __future__ import annotations

import contextlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metad2a_plugin.analysis.cell_network import GenotypeNetwork
from metad2a_plugin.analysis.wiring import INPUTS, OPERATIONS, PUBLISHED, Genotype
from metad2a_plugin.errors import ConfigError, MetaD2AError
from metad2a_plugin.nn.lean import lean

ALL = " | ".join(f"{name}~0 {name}~{number + 1}" for number, name in enumerate(OPERATIONS))


@st.composite
def genotypes(draw: st.DrawFn) -> Genotype:
    nodes, operations = [], []
    for number in range(INPUTS, INPUTS + draw(st.integers(1, 5))):
        sources = draw(st.lists(st.integers(0, number - 1), min_size=1, max_size=3))
        nodes.append(tuple(sources))
        operations.append(tuple(draw(st.sampled_from(OPERATIONS)) for _ in sources))
    return Genotype(INPUTS, tuple(nodes), tuple(operations))


@given(genotypes(), st.integers(0, 99))
def test_texts_and_random_connections_keep_what_a_cell_is(cell: Genotype, seed: int) -> None:
    assert Genotype.parse(str(cell)) == cell
    drawn = cell.rewired(seed)
    assert drawn == cell.rewired(seed) and drawn.operations == cell.operations
    assert [len(sources) for sources in drawn.nodes] == [len(sources) for sources in cell.nodes]
    assert 0 < drawn.width <= len(drawn.nodes) and 2 <= drawn.depth <= len(drawn.nodes) + 1


@given(st.text(alphabet="sep_conv3x~|012 skip_connect-é٣", max_size=40))
def test_any_text_is_a_cell_or_refused(text: str) -> None:
    with contextlib.suppress(MetaD2AError):
        assert Genotype.parse(text).nodes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "written as"),
        ("sep_conv_3x3", "written as"),
        ("sep_conv_3x3~0 | ", "written as"),
        ("sep_conv_3x3~-1", "written as"),
        ("sep_conv_3x3~99999", "numbers of nodes"),
        ("sep_conv_3x3~2", "from 0 to 1"),
        ("conv_1x1~0", "operations are"),
    ],
)
def test_what_is_no_cell_is_refused(text: str, said: str) -> None:
    with pytest.raises(MetaD2AError, match=said):
        Genotype.parse(text)


def test_a_genotype_needs_an_operation_for_each_source() -> None:
    with pytest.raises(ConfigError, match="needs an operation"):
        Genotype(2, ((0, 1),), (("skip_connect",),))
    with pytest.raises(ConfigError, match="2 inputs"):
        Genotype(3, ((0,),), (("skip_connect",),))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells_are_networks_that_learn_in_all_their_parts(name: str) -> None:
    network = GenotypeNetwork(PUBLISHED[name], 3, channels=4)
    logits = network(torch.randn(4, 3, 9, 9))
    assert logits.shape == (4, 3)
    logits.logsumexp(1).sum().backward()
    missing = [n for n, weight in network.named_parameters() if weight.grad is None or not weight.grad.abs().sum()]
    # Of the last cell an input may be used by no node.
    assert all(n.startswith("cells.") and ".inputs." in n for n in missing)


@settings(max_examples=5)
@given(st.integers(0, 50))
def test_connections_of_the_same_operations_have_the_same_parameters(seed: int) -> None:
    def parameters(cell: Genotype) -> int:
        return sum(weight.numel() for weight in GenotypeNetwork(cell, 2, channels=3, cells=2).parameters())

    assert parameters(PUBLISHED["DARTS"]) == parameters(PUBLISHED["DARTS"].rewired(seed))


def test_every_operation_keeps_or_halves_any_size_and_is_the_same_when_lean() -> None:
    torch.manual_seed(0)
    network = GenotypeNetwork(Genotype.parse(ALL), 3, channels=2, cells=2).eval()
    for size in (8, 11):
        images = torch.randn(2, 3, size, size)
        with torch.no_grad():
            whole = network(images)
            with lean(network):
                torch.testing.assert_close(network(images), whole, rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match="channels"):
        GenotypeNetwork(PUBLISHED["SNAS"], 3, channels=0)


def test_the_output_of_a_cell_is_that_of_its_definition() -> None:
    cell = Genotype.parse("skip_connect~0 skip_connect~1 | max_pool_3x3~2")
    network = GenotypeNetwork(cell, 2, channels=2).eval()
    first = network.cells[0]
    x = torch.randn(1, 2, 6, 6)
    with torch.no_grad():
        before, last = (into(x) for into in first.inputs)  # type: ignore[union-attr]  # a list of modules
        node = before + last
        expected = torch.cat([node, torch.nn.functional.max_pool2d(node, 3, 1, 1)], dim=1)
        torch.testing.assert_close(first(x, x), expected)
