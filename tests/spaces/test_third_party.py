"""A search space as somebody else would write it, with public names only: checked, trained, searched and ranked."""

from __future__ import annotations

import numpy as np
import pytest
from plug_in_toys import Towers

from metad2a_plugin import search_space
from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.data import load_dataset
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.registry import get_predictor, get_strategy
from metad2a_plugin.spaces import SearchSpace
from metad2a_plugin.testing import SearchSpaceConformance
from metad2a_plugin.training import TrainConfig, train_architecture


class TestTowers(SearchSpaceConformance):
    def make_space(self) -> SearchSpace:
        return Towers()


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2
    return load_dataset((rng.integers(0, 60, (24, 8, 8, 3)) + 180 * labels[:, None, None, None], labels))


def test_it_trains_with_options_of_its_own(images) -> None:
    space, config = Towers(), TrainConfig(epochs=1, batch_size=8, input_size=8, options={"stride": 1}, device="cpu")
    result = train_architecture(space, space.parse("d2-w4-k3"), images, config, progress=False)
    assert result.params * 1e6 == pytest.approx(3 * 4 * 9 + 4 + 4 * 4 * 9 + 4 + 2 * 4 + 2)
    assert result.flops * 1e6 == pytest.approx(64 * (3 * 4 * 9 + 4 * 4 * 9) + 2 * 4)
    with pytest.raises(ConfigError, match="unknown option 'channels' of the network; those of the space 'towers' are"):
        train_architecture(space, result.architecture, images, TrainConfig(options={"channels": 4}, device="cpu"))


def test_it_is_searched(images) -> None:
    best = search_space(Towers(), "params", max_params=1e-3, top=3)
    assert all(candidate.params <= 1e-3 for candidate in best.candidates) and len(best.candidates) == 3
    strategy = get_strategy("random")(Towers(), seed=0)
    for _ in range(5):
        for architecture in strategy.ask():
            strategy.tell(architecture, -strategy.space.cost(architecture).flops)
    assert strategy.best is not None and len(strategy.history) == 5


def test_it_is_ranked_by_naswot(images) -> None:
    space = Towers()
    predictor = get_predictor("naswot")(space, images, input_size=8, progress=False, stride=1)
    found = search_space(space, predictor, input_size=8, top=space.size)
    assert sorted(found.architectures) == list(space.enumerate())
    # Its score grows with the number of ReLUs.
    places = {space.format(architecture): place for place, architecture in enumerate(found.architectures)}
    assert places["d3-w8-k3"] < places["d1-w4-k3"]
    with pytest.raises(ConfigError, match="'channels'"):
        get_predictor("naswot")(space, images, channels=4)


def test_a_search_ranks_and_counts_the_same_networks(images) -> None:
    """By a predictor that builds them, without a model of the space."""
    found, plain = (search_space(Towers(), "naswot", images, input_size=8, top=24, **o) for o in ({"stride": 1}, {}))
    predictor = get_predictor("naswot")(Towers(), images, input_size=8, progress=False, stride=1)
    scores = predictor.predict(None, found.architectures).mean.tolist()
    assert [c.score for c in found.candidates] == pytest.approx(scores) and found.options == {"stride": 1}
    assert found.dataset == images.name and found.num_classes == 2
    assert found.best.score != plain.best.score and found.best.flops > plain.best.flops


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": "two"}, "stride must be of type int, such as 2, got 'two'"),
        ({"stride": 1.5}, "stride must be of type int"),
        ({"stride": True}, "stride must be of type int"),
        ({"stride": -1}, "no network of the space 'towers' can be built with .*stride=-1"),
    ],
)
def test_wrong_values_of_its_options_are_refused(images, options, message) -> None:
    space = Towers()
    with pytest.raises(ConfigError, match=message):
        space.cost(space.parse("d2-w4-k3"), **options)
    with pytest.raises(ConfigError, match=message):
        search_space(space, "params", **options)


class Pointed(Towers):
    """With options of its networks that others have names for, too."""

    def build(self, architecture, num_classes, *, points: int = 1, std: float = 1.0):
        return super().build(architecture, num_classes, stride=points)


def test_options_of_networks_may_have_any_name(images) -> None:
    space, config = Pointed(), TrainConfig(epochs=1, input_size=8, options={"points": 2, "std": 0.5}, device="cpu")
    assert train_architecture(space, space.parse("d1-w4-k3"), images, config, progress=False).accuracy >= 0
    with pytest.raises(ConfigError, match="'points' is of a search and of the networks of 'towers'"):
        search_space(space, "params", points=2)
    limits = Limits(space, options={"points": 2})
    assert search_space(space, "params", limits=limits, top=1).options == {"points": 2}
