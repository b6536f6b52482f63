"""The search algorithm and the trainable, each without a cluster; the real ones are in `test_ray_cluster`."""

from __future__ import annotations

import json
import pickle
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

NAME, MISSING = "metad2a_plugin.adapters.ray", "Ray is not installed (extra ray)"
ray = pytest.importorskip(NAME, reason=MISSING, exc_type=ImportError)

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as some  # noqa: E402
from metad2a_plugin.adapters import _ray_training  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.search import ConcurrencyLimiter, Searcher  # noqa: E402
from ray_toys import CELLS, TINY, Kept, KilledError, Session, images  # noqa: E402

from metad2a_plugin import Strategy, get_space  # noqa: E402
from metad2a_plugin.data import load_dataset  # noqa: E402
from metad2a_plugin.errors import ArchitectureError, CheckpointError, ConfigError, MetaD2AError  # noqa: E402
from metad2a_plugin.training.images import prepare  # noqa: E402
from metad2a_plugin.training.run import train_architecture  # noqa: E402

SPACE = get_space("nasbench201")
StrategySearch = ray.StrategySearch


class Listed(Strategy):
    """Proposes what it was given, and remembers what it is told."""

    def __init__(self, cells: list[str]) -> None:
        super().__init__(SPACE)
        self.left, self.told, self.partial = list(cells), list[tuple[str, float]](), list[tuple[str, list[float]]]()

    def _ask(self, n: int) -> list[Any]:
        asked, self.left = self.left[:n], self.left[n:]
        return [self.space.parse(cell) for cell in asked]

    def _tell(self, architecture: Any, value: float) -> None:
        self.told.append((self.space.format(architecture), value))

    def _tell_partial(self, architecture: Any, curve: list[float]) -> None:
        self.partial.append((self.space.format(architecture), curve))


def listed(*cells: str, **settings: Any) -> tuple[Any, Listed]:
    search, strategy = StrategySearch("random", **settings), Listed(list(cells))
    search._strategy = strategy
    return search, strategy


def end(search: Any, trial: str, values: list[float], epochs: int | None = None, metric: str = "accuracy") -> None:
    """Report a curve as Tune does, whose last result comes with the completion."""
    results = [{metric: value, "training_iteration": i} for i, value in enumerate(values, 1)]
    for result in results:
        search.on_trial_result(trial, result)
    search.on_trial_complete(trial, {**results[-1], **({"epochs": epochs} if epochs else {})})


# -- the search ----------------------------------------------------------------------------------
def test_trials_are_what_the_strategy_proposes_and_it_hears_their_last_values() -> None:
    search, strategy = listed(*CELLS[:2])
    assert [search.suggest("a"), search.suggest("b")] == [{"architecture": cell} for cell in CELLS[:2]]
    end(search, "b", [10, 30, 20])
    end(search, "a", [50.0])
    assert strategy.told == [(CELLS[1], 20), (CELLS[0], 50)]
    assert search.suggest("c") == Searcher.FINISHED


def test_lower_is_better_where_that_is_said() -> None:
    search, strategy = listed(CELLS[0], metric="loss", mode="min")
    search.suggest("a")
    end(search, "a", [2.0, 0.5], metric="loss")
    assert strategy.told == [(CELLS[0], -0.5)]


@pytest.mark.parametrize("given", [{}, {"epochs": 4}])
def test_what_a_scheduler_ended_is_told_as_a_partial_training(given: dict[str, Any]) -> None:
    search, strategy = listed(*CELLS[:2], **given)
    search.suggest("a"), search.suggest("b")
    end(search, "a", [10, 20], epochs=4)
    end(search, "b", [10, 20, 30, 40], epochs=4)
    assert strategy.partial == [(CELLS[0], [10, 20])] and strategy.told == [(CELLS[1], 40)]


def test_an_epoch_that_was_trained_again_counts_once() -> None:
    search, strategy = listed(CELLS[0])
    search.suggest("a")
    for epoch, value in ((1, 10), (2, 20), (2, 21)):
        search.on_trial_result("a", {"accuracy": value, "training_iteration": epoch})
    search.on_trial_complete("a", {"accuracy": 30, "training_iteration": 3, "epochs": 9})
    assert strategy.partial == [(CELLS[0], [10, 21, 30])]


@pytest.mark.parametrize("result", [None, {}, {"accuracy": float("nan")}, {"accuracy": "high"}, {"loss": 1.0}])
def test_what_failed_or_has_no_number_is_not_told(result: dict[str, Any] | None) -> None:
    search, strategy = listed(*CELLS)
    search.suggest("a"), search.suggest("b")
    search.on_trial_result("a", {"accuracy": 50.0, "training_iteration": 1})
    search.on_trial_complete("a", {"accuracy": 50.0}, error=True)
    search.on_trial_complete("b", result)
    search.on_trial_complete("unknown", {"accuracy": 1.0})
    assert strategy.told == strategy.partial == []


def test_nothing_is_tried_twice_and_the_strategy_hears_the_value_again() -> None:
    search, strategy = listed(CELLS[0], CELLS[0], CELLS[1], CELLS[0], CELLS[2])
    assert [search.suggest(trial)["architecture"] for trial in "ab"] == CELLS[:2]  # the second is under way
    end(search, "a", [70])
    assert strategy.told == [(CELLS[0], 70)] * 2
    assert search.suggest("c")["architecture"] == CELLS[2]
    assert strategy.told == [(CELLS[0], 70)] * 3


def test_a_search_waits_for_what_is_under_way_before_it_ends() -> None:
    search, strategy = listed(CELLS[0], *[CELLS[0]] * 150)
    assert search.suggest("a") is not None
    assert search.suggest("b") is None and search.suggest("b") is None
    assert len(strategy.left) == 50  # it is asked again only when something has ended
    end(search, "a", [70])
    assert search.suggest("b") == Searcher.FINISHED


def test_other_parameters_are_drawn_beside_the_architecture() -> None:
    space = {"lr": tune.loguniform(1e-3, 1e-1), "options": {"channels": tune.choice([4, 8])}, "epochs": 3}

    def drawn() -> list[dict[str, Any]]:
        search, _ = listed(*[CELLS[0]] * 4, seed=3)
        assert search.set_search_properties("accuracy", "max", space)
        return [search.suggest(str(i)) for i in range(4)]

    configs = drawn()
    assert drawn() == configs and len({config["lr"] for config in configs}) == 4  # of the same cell: other trials
    assert all(1e-3 <= config["lr"] <= 1e-1 and config["options"]["channels"] in (4, 8) for config in configs)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"architecture": CELLS[0]}, "which the strategy proposes; leave it out"),
        ({"lr": tune.grid_search([1, 2])}, "grid_search.*tune.choice"),
    ],
)
def test_a_param_space_that_cannot_be_searched_is_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StrategySearch("random").set_search_properties("accuracy", "max", space)


def test_a_metric_is_given_once() -> None:
    search = StrategySearch("random", metric="loss", mode="min")
    with pytest.raises(ConfigError, match="'accuracy' in TuneConfig and 'loss' in the search"):
        search.set_search_properties("accuracy", None, {"lr": 0.1})
    with pytest.raises(ConfigError, match="a strategy has one metric"):
        StrategySearch("random").set_search_properties(["a", "b"], None, {"lr": 0.1})
    assert search.set_search_properties("loss", "min", {"lr": 0.1})
    assert (StrategySearch("random").metric, StrategySearch("random").mode) == ("accuracy", "max")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strategy": "randm"}, "did you mean 'random'"),
        ({"space": "nasbench"}, "did you mean 'nasbench201'"),
        ({"mode": "best"}, "'max' or 'min'"),
        ({"epochs": 0}, "epochs must be"),
        ({"strategy": "random", "explore": 1}, "explore"),
    ],
)
def test_wrong_settings_are_refused_at_once(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StrategySearch(**given)


def test_a_limiter_holds_and_a_new_search_is_pickled_as_tune_does() -> None:
    limited = ConcurrencyLimiter(pickle.loads(pickle.dumps(StrategySearch("random", seed=5))), 2)
    assert [limited.suggest(trial) is None for trial in "abc"] == [False, False, True]
    limited.on_trial_complete("a", {"accuracy": 1.0, "training_iteration": 1})
    assert limited.suggest("c") is not None


# -- its state -----------------------------------------------------------------------------------
def test_a_restored_search_goes_on_as_the_one_that_was_saved(tmp_path: Path) -> None:
    search = StrategySearch("regularized-evolution", seed=2, population_size=4, sample_size=2)
    for trial in "abcdef":
        assert isinstance(search.suggest(trial), dict)
    for trial in "abcd":
        end(search, trial, [float(ord(trial))])
    search.save(str(tmp_path / "state"))
    again = StrategySearch("regularized-evolution", seed=2, population_size=4, sample_size=2)
    again.restore(str(tmp_path / "state"))
    for one in (search, again):
        end(one, "e", [1.0])
    assert [search.suggest(trial) for trial in "ghij"] == [again.suggest(trial) for trial in "ghij"]
    assert search.strategy.history == again.strategy.history and len(again.strategy.history) == 5


def test_a_search_that_has_not_begun_is_saved_and_restored(tmp_path: Path) -> None:
    StrategySearch("random").save(str(tmp_path / "state"))
    again = StrategySearch("random")
    again.restore(str(tmp_path / "state"))
    assert again.suggest("a") == StrategySearch("random").suggest("a")


def test_what_is_no_state_is_refused_and_not_unpickled(tmp_path: Path) -> None:
    path, search = tmp_path / "state", StrategySearch("random")
    for content in (pickle.dumps({"format": "metad2a-ray-1"}), b"", b"{}", b'{"format": 1}'):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot be read"):
            search.restore(str(path))
    StrategySearch("random").suggest("a")
    other = StrategySearch("local-search")
    other.suggest("a")
    other.save(str(path))
    with pytest.raises(CheckpointError, match="'LocalSearch', not 'RandomSearch'"):
        search.restore(str(path))


PLAIN = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(some.sampled_from(["strategy", "running", "repeats", "ended", "drawn", "more"]), PLAIN)
@settings(max_examples=20, deadline=None)
def test_a_changed_state_is_refused_or_read(tmp_path_factory: pytest.TempPathFactory, key: str, value: Any) -> None:
    path = tmp_path_factory.mktemp("state") / "state"
    search = StrategySearch("random")
    search.suggest("a")
    search.save(str(path))
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with suppress(CheckpointError):
        StrategySearch("random").restore(str(path))


# -- the training --------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def data() -> Any:
    return prepare(load_dataset(images()), TINY)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    found = Session(tmp_path)
    monkeypatch.setattr(_ray_training, "tune", found)
    return found


def train(data: Any, **config: Any) -> None:
    _ray_training.train({"architecture": CELLS[0], **config}, SPACE, data, TINY)


def test_every_epoch_is_reported_with_a_checkpoint_and_the_last_has_the_network(data: Any, session: Session) -> None:
    train(data)
    alone = train_architecture(SPACE, CELLS[0], data, TINY, progress=False)
    assert [report["accuracy"] for report in session.reports] == [epoch.accuracy for epoch in alone.history]
    assert [(report["epoch"], report["epochs"]) for report in session.reports] == [(1, 3), (2, 3), (3, 3)]
    assert session.reports[-1]["params_m"] == alone.params
    [folder] = Path(session.last.path).iterdir()
    assert {"network.safetensors", "result.json"} <= {path.name for path in folder.iterdir()}


def test_a_killed_trial_goes_on_from_its_last_epoch_to_the_same_end(data: Any, session: Session) -> None:
    session.dies_after = 2
    with pytest.raises(KilledError):
        train(data)
    train(data)
    assert [report["epoch"] for report in session.reports] == [1, 2, 3]
    alone = train_architecture(SPACE, CELLS[0], data, TINY, progress=False)
    assert session.reports[-1]["loss"] == alone.history[-1].loss


def test_a_trial_that_is_lost_after_its_last_epoch_is_not_trained_again(data: Any, session: Session) -> None:
    train(data)
    train(data)
    assert len(session.reports) == 3


@pytest.mark.parametrize(("dies_after", "reported"), [(2, [1, 2, 3]), (3, [1, 2, 3, 3]), (1, [1, 1, 2, 3])])
def test_where_the_checkpoint_that_tune_knows_is_gone_the_next_one_serves(
    dies_after: int, reported: list[int], data: Any, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    """As when the process of a search is killed between deleting a checkpoint and noting the next."""
    session.dies_after = dies_after
    with pytest.raises(KilledError):
        train(data)
    session.last = Kept(str(session.folder / f"checkpoint_{max(0, dies_after - 2):06}"))
    shutil.rmtree(session.last.path)
    train(data)
    assert [report["epoch"] for report in session.reports] == reported
    alone = train_architecture(SPACE, CELLS[0], data, TINY, progress=False)
    assert session.reports[-1]["loss"] == alone.history[-1].loss
    assert ("its beginning" in caplog.text) is (dies_after == 1)


def test_a_checkpoint_of_other_settings_is_refused(data: Any, session: Session) -> None:
    session.dies_after = 1
    with pytest.raises(KilledError):
        train(data)
    with pytest.raises(ConfigError, match="PopulationBasedTraining"):
        train(data, lr=0.05)


def test_settings_of_a_trial_go_before_those_of_all(data: Any, session: Session) -> None:
    train(data, epochs=1, lr=0.03)
    assert [report["epochs"] for report in session.reports] == [1]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"leraning_rate": 0.1}, "unknown setting of a trial"),
        ({"input_size": 16}, "unknown setting of a trial"),
        ({"lr": -1}, "lr"),
        ({"options": {"chanels": 4}}, "chanels"),
        ({"architecture": "|nor|"}, "nor"),
    ],
)
def test_a_trial_that_cannot_be_trained_says_why(
    data: Any, session: Session, config: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, ArchitectureError), match=message):
        train(data, **config)


def test_a_trial_without_an_architecture_says_where_it_comes_from(data: Any) -> None:
    with pytest.raises(ConfigError, match="search with StrategySearch"):
        _ray_training.train({"lr": 0.1}, SPACE, data, TINY)


@pytest.mark.parametrize(
    "given",
    [
        {"config": {"epochs": 3}},
        {"space": "nasbench"},
        {"dataset": "no/such/folder"},
        {"config": TINY.resolved(16), "space": "mobilenetv3"},
    ],
)
def test_a_trainable_that_cannot_train_is_refused_when_it_is_made(given: dict[str, Any]) -> None:
    with pytest.raises(MetaD2AError):
        ray.trainable(**{"dataset": images(), "config": TINY, **given})
