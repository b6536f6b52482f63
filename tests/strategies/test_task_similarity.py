from __future__ import annotations

import random
from pathlib import Path

import pytest
from one_shot_toys import SMALLEST
from similarity_toys import build, noise, stripes

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.registry import available, get_space, get_strategy
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.similarity.library import TaskLibrary, load_library
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.strategies import TaskSimilarityStrategy
from metad2a_plugin.testing import StrategyConformance, ToySpace

SPACE = get_space("nasbench201")
WHOLE = {"darts", "lpt", "metad2a", "task-similarity"}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> TaskLibrary:
    folder = tmp_path_factory.mktemp("strategy")
    build(folder)
    return load_library(folder / "library")


class TestConformance(StrategyConformance):
    inner = "regularized-evolution"

    @pytest.fixture(autouse=True)
    def _library(self, library: TaskLibrary) -> None:
        self.library = library

    def make_space(self) -> SearchSpace:
        return SPACE

    def make(self, space: SearchSpace, seed: int) -> Strategy:
        return TaskSimilarityStrategy(
            space, seed=seed, dataset=stripes(), library=self.library, strategy=self.inner
        )


@pytest.mark.slow
class TestConformanceOfLocalSearch(TestConformance):
    inner = "local-search"


def test_searches_the_operations_of_the_good_cells_of_the_nearest_task(library):
    strategy = get_strategy("task-similarity")(SPACE, dataset=noise(), library=library, strategy="random")
    assert strategy.tasks == ("noise",)
    good = [SPACE.parse(cell.architecture).choices for cell in library.good_cells("noise")]
    asked = strategy.ask(10_000)
    assert len(asked) == strategy.part.size and strategy.ask(1) == []
    for edge in range(6):
        assert {a.choices[edge] for a in asked} == {choices[edge] for choices in good}


@pytest.mark.parametrize("inner", [name for name in available("strategies") if name not in WHOLE])
def test_any_strategy_searches_the_part(inner, library):
    options = {**SMALLEST, "rounds": 3} if inner == "fuse" else {}
    strategy = TaskSimilarityStrategy(SPACE, dataset=noise(), library=library, strategy=inner, **options)
    for turn in range(6):
        for architecture in strategy.ask(2):
            assert architecture in strategy.part
            strategy.tell(architecture, float(turn))
    assert strategy.recommendation in strategy.part


def test_more_tasks_allow_more(library):
    one, two = (TaskSimilarityStrategy(SPACE, dataset=noise(), library=library, nearest=n) for n in (1, 2))
    assert len(two.tasks) == 2
    assert all(set(a) <= set(b) for a, b in zip(one.part.allowed, two.part.allowed, strict=True))


def test_what_is_told_of_elsewhere_is_kept_but_not_searched_from(library):
    strategy = TaskSimilarityStrategy(SPACE, dataset=noise(), library=library, population_size=1, sample_size=1)
    outside = next(a for a in SPACE.enumerate() if a not in strategy.part)
    strategy.tell(outside, 99.0)
    assert strategy.best == (outside, 99.0)
    strategy.tell(strategy.part.sample(random.Random(0)), 50.0)
    assert all(a in strategy.part for a in strategy.ask(20))


def test_a_state_brings_its_part_along(library):
    first = TaskSimilarityStrategy(SPACE, dataset=noise(), library=library)
    other = TaskSimilarityStrategy(SPACE, dataset=stripes(), library=library)
    other.load_state_dict(first.state_dict())
    assert other.tasks == first.tasks == ("noise",) and other.part.allowed == first.part.allowed
    assert other.ask(5) == first.ask(5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": None}, "give a dataset"),
        ({"strategy": "metad2a"}, "unknown inner strategy 'metad2a'"),
        ({"strategy": "task-similarity"}, "unknown inner strategy 'task-similarity'"),
        ({"population": 3}, "unexpected keyword argument 'population'"),
        ({"nearest": 3}, "nearest is 3, but the library has 2 tasks"),
        ({"distance": "l2"}, "unknown distance 'l2'"),
    ],
)
def test_wrong_options(options, message, library):
    with pytest.raises(ConfigError, match=message):
        TaskSimilarityStrategy(SPACE, **{"dataset": stripes(), "library": library, **options})


def test_a_library_of_another_space(library):
    with pytest.raises(ConfigError, match="of the space 'nasbench201', not 'toy'"):
        TaskSimilarityStrategy(ToySpace(), dataset=stripes(), library=library)


def test_no_library(tmp_path: Path):
    with pytest.raises(ValueError, match="no library of tasks"):
        TaskSimilarityStrategy(SPACE, dataset=stripes(), library=tmp_path)
