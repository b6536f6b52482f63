from __future__ import annotations

from pathlib import Path

import pytest

from metad2a_plugin import get_space
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.plugins.strategy import maximize
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.strategies import MDENAS
from metad2a_plugin.testing import ToySpace

SPACE = ToySpace(length=1)
NONE, SKIP, CONV = (SPACE.parse(op) for op in ("none", "skip", "conv"))


def test_starts_uniform() -> None:
    assert MDENAS(SPACE).probabilities[0].tolist() == pytest.approx([0, 0, 1 / 3, 1 / 3, 1 / 3])
    assert MDENAS(SPACE).recommendation is None


def test_drawn_less_and_better_gains_drawn_more_and_worse_loses() -> None:
    strategy = MDENAS(SPACE, learning_rate=0.1)
    # An operation never drawn has no accuracy, and one drawn more often may well be better: nothing moves.
    strategy.tell(SKIP, 60)
    strategy.tell(SKIP, 60)
    assert strategy.probabilities[0, 2:].tolist() == pytest.approx([1 / 3] * 3)
    # Drawn once and better than what was drawn twice: plus and minus a tenth.
    strategy.tell(CONV, 70)
    assert strategy.probabilities[0, 2:].tolist() == pytest.approx([1 / 3, 1 / 3 - 0.1, 1 / 3 + 0.1])
    assert strategy.recommendation == CONV
    # Equally often: nothing moves.
    strategy.tell(CONV, 70)
    assert strategy.probabilities[0, 2:].tolist() == pytest.approx([1 / 3, 1 / 3 - 0.1, 1 / 3 + 0.1])


def test_of_equally_likely_operations_the_better_is_recommended() -> None:
    space = ToySpace(length=3)
    strategy = MDENAS(space)
    first, second = space.parse("conv>skip>skip"), space.parse("skip>conv>conv")
    strategy.tell(first, 3)
    assert strategy.recommendation == first
    strategy.tell(second, 5)
    assert strategy.recommendation == second


class Switched(ToySpace):
    """Dead but for listed architectures."""

    def __init__(self, *live: str) -> None:
        super().__init__(length=len(live[0].split(">")))
        self.live = {self.parse(text) for text in live}

    def is_dead(self, architecture: Architecture) -> bool:
        return self.validate(architecture) not in self.live


def learned(space: ToySpace, *better: tuple[str, str]) -> MDENAS:
    """A strategy to which the first of each pair was told once as good, the second often as bad."""
    strategy = MDENAS(space, learning_rate=0.05)
    for good, bad in better:
        for text, value in ((bad, 10), (bad, 10), (good, 90)):
            strategy.tell(space.parse(text), value)
    return strategy


def test_where_the_likeliest_operations_are_dead_together_the_likeliest_live_one_is_recommended() -> None:
    pair = "conv>conv>conv", "none>skip>skip"
    assert learned(Switched("conv>conv>conv"), pair).recommendation == Architecture("toy", (2, 2, 2))
    # One other operation is likelier than two, and an operation never told than one that was bad.
    strategy = learned(Switched("conv>conv>none", "none>conv>conv", "skip>skip>conv"), pair)
    assert strategy.recommendation == Architecture("toy", (2, 2, 0))


def test_a_live_architecture_far_from_the_likeliest_one_is_the_best_told_or_none_is_recommended() -> None:
    length = 16
    worst, best = ">".join(["none"] * length), ">".join(["conv"] * length)
    space = Switched(worst)
    strategy = learned(space, (best, ">".join(["skip"] * length)))
    assert strategy.recommendation is None
    strategy.tell(space.parse(worst), 1)
    assert strategy.recommendation == space.parse(worst)


@pytest.mark.parametrize("record", ["mean", "last"])
@pytest.mark.parametrize("name", ["nasbench201", "mobilenetv3"])
def test_no_dead_cell_is_recommended_whatever_is_told(name: str, record: str) -> None:
    space = get_space(name)
    strategy = MDENAS(space, seed=3, record=record, learning_rate=0.2)
    for step in range(12):
        [drawn] = strategy.ask()
        # As if cutting paths were the best.
        strategy.tell(drawn, drawn.choices.count(0) + 0.1 * (step % 3))
        found = strategy.recommendation
        assert found is not None and not space.is_dead(found)


def test_the_unit_of_what_is_told_does_not_matter() -> None:
    plain, turned = MDENAS(SPACE), MDENAS(SPACE)
    for architecture, value in ((SKIP, 1), (SKIP, 3), (CONV, 4), (NONE, 5), (CONV, 1)):
        plain.tell(architecture, value)
        turned.tell(architecture, value - 1000)
    assert plain.probabilities.equal(turned.probabilities)


def test_the_last_accuracy_or_the_mean() -> None:
    mean, last = MDENAS(SPACE), MDENAS(SPACE, record="last")
    for strategy in (mean, last):
        for architecture, value in ((SKIP, 90), (SKIP, 10), (CONV, 40)):
            strategy.tell(architecture, value)
    # The mean of skip is 50, its last is 10; conv has 40 and was drawn less often.
    assert mean.probabilities[0, 4] < last.probabilities[0, 4]


def test_probabilities_stay_probabilities() -> None:
    strategy = MDENAS(SPACE, learning_rate=5)
    for _ in range(20):
        [architecture] = strategy.ask()
        strategy.tell(architecture, {NONE: 1, SKIP: 2, CONV: 3}[architecture])
    assert strategy.probabilities.min() >= 0 and strategy.probabilities.sum(1).tolist() == pytest.approx([1])


def test_finds_the_best_of_independent_edges() -> None:
    space = ToySpace(length=6)
    strategy = MDENAS(space, seed=1)

    def convolutions(architectures: list[Architecture]) -> list[float]:
        return [float(a.choices.count(2)) for a in architectures]

    maximize(strategy, convolutions, 300, batch=1)
    assert strategy.recommendation == Architecture(space.name, (2,) * 6)


def test_a_layer_that_the_depth_leaves_out_is_never_drawn() -> None:
    space = get_space("mobilenetv3")
    strategy = MDENAS(space)
    for architecture in strategy.ask(20):
        assert space.validate(architecture) == architecture


def test_wrong_settings() -> None:
    for rate in (0, -1, "fast", float("inf")):
        with pytest.raises(ConfigError, match="learning_rate"):
            MDENAS(SPACE, learning_rate=rate)
    with pytest.raises(ConfigError, match="unknown record 'lst'"):
        MDENAS(SPACE, record="lst")
    state = MDENAS(SPACE).state_dict()
    with pytest.raises(CheckpointError, match="record='mean'"):
        MDENAS(SPACE, record="last").load_state_dict(state)


@pytest.mark.slow
def test_figures_of_the_table(data_root: Path) -> None:
    """Means over 8 seeds after 200 steps, told 12-epoch accuracies: the mean record beats the last one by far."""
    from metad2a_plugin.adapters.nas_bench_201 import NASBench201Table

    table, space = NASBench201Table.load(data_root), get_space("nasbench201")
    told, test = table.accuracies("cifar10", "valid", 12), table.accuracies("cifar10", "test")
    found = {}
    for record in ("mean", "last"):
        strategies = [MDENAS(space, seed=seed, record=record) for seed in range(8)]
        for strategy in strategies:
            maximize(strategy, lambda cells: told[table.index_of(list(cells))].tolist(), 200, batch=1)
        found[record] = float(test[table.index_of([s.recommendation for s in strategies])].mean())
    assert found["mean"] > 92.5 > found["last"] + 1
