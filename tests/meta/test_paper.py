from __future__ import annotations

import csv
import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from metad2a_plugin.errors import CheckpointError, ConfigError, DatasetError
from metad2a_plugin.meta.database import ClassFeatures, MetaDatabase
from metad2a_plugin.meta.paper import train_generator, train_predictor
from metad2a_plugin.meta.paper_config import GENERATOR_RELEASE, PREDICTOR_RELEASE, PaperConfig
from metad2a_plugin.models.generator import PaperGenerator
from metad2a_plugin.models.predictor import PaperPredictor
from metad2a_plugin.spaces.nasbench201.space import NASBench201

CONFIG = PaperConfig(epochs=3, batch_size=16, lr=1e-3, images_per_class=4)
SPACE = NASBench201()
CELLS = SPACE.all_vertices()


class InterruptedRunError(Exception):
    pass


@pytest.fixture(autouse=True)
def _small_predictor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's predictor has 3.4 million parameters; a narrow one trains in a moment."""
    monkeypatch.setattr(PaperPredictor, "of_space", partial(PaperPredictor.of_space, hidden=48))


def toy_database(rows: int = 64, seed: int = 0) -> MetaDatabase:
    """Accuracy grows with the number of 3x3 convolutions; every eighth row is of the other, lower protocol."""
    generator = torch.Generator().manual_seed(seed)
    vertices = CELLS[torch.randint(len(CELLS), (rows,), generator=generator)]
    protocol = (torch.arange(rows) % 8 == 0).long()
    return MetaDatabase(
        vertices=vertices,
        accuracy=50 + 5.0 * (vertices == 5).sum(1) - 16 * protocol,
        task=torch.arange(rows) % 10,
        valid=torch.arange(rows) % 4 == 1,
        protocol=protocol,
        task_classes=torch.stack([torch.randperm(8, generator=generator)[:3] for _ in range(10)]),
        class_folders={c: f"n{c}" for c in range(8)},
        space=SPACE,
    )


@pytest.fixture(scope="module")
def database() -> MetaDatabase:
    return toy_database()


@pytest.fixture(scope="module")
def classes() -> ClassFeatures:
    count = torch.tensor([5, 6, 5, 7, 5, 5, 9, 5])
    features = torch.randn(int(count.sum()), 8, generator=torch.Generator().manual_seed(1))
    return ClassFeatures(features, count.cumsum(0) - count, count, "toy")


def run(kind: str, *arguments: Any, **options: Any) -> PaperGenerator | PaperPredictor:
    if kind == "generator":
        return train_generator(*arguments, **options)
    return train_predictor(*arguments, **options).predictor


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


kinds = pytest.mark.parametrize("kind", ["generator", "predictor"])


@kinds
def test_same_seed_same_weights_whatever_the_global_state(
    kind: str, database: MetaDatabase, classes: ClassFeatures
) -> None:
    config = dataclasses.replace(CONFIG, epochs=1)
    state = torch.get_rng_state()
    first = run(kind, database, classes, config)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(99)
    assert same(first, run(kind, database, classes, config))
    assert not same(first, run(kind, database, classes, dataclasses.replace(config, seed=1)))
    assert not first.training


@kinds
@pytest.mark.parametrize(("schedule", "keep_best"), [("cosine", True), ("plateau", False)])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    kind: str, schedule: str, keep_best: bool, database: MetaDatabase, classes: ClassFeatures, tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, schedule=schedule, keep_best=keep_best)
    lines: list[Any] = []
    whole = run(kind, database, classes, config, on_epoch=lines.append)

    def interrupt(line: Any) -> None:
        raise InterruptedRunError

    for _ in range(config.epochs):
        with pytest.raises(InterruptedRunError):
            run(kind, database, classes, config, run_dir=tmp_path, on_epoch=interrupt)
    # The run is complete: nothing is left to train, so nothing interrupts.
    assert same(whole, run(kind, database, classes, config, run_dir=tmp_path, on_epoch=interrupt))
    with (tmp_path / f"{kind}.csv").open() as file:
        log = list(csv.DictReader(file))
    assert [list(line) for line in log] == [list(line._fields) for line in lines]
    for found, expected in zip(log, lines, strict=True):
        assert all(float(found[name]) == getattr(expected, name) for name in expected._fields if name != "seconds")


def test_the_plateau_schedule_divides_the_rate_after_a_resumed_standstill(
    database: MetaDatabase, classes: ClassFeatures, tmp_path: Path
) -> None:
    """A rate too small to move the weights: the loss of a full batch without noise in the images stands still."""
    one_image = ClassFeatures(classes.features[:8], torch.arange(8), torch.ones(8, dtype=torch.int64), "toy")
    config = PaperConfig(epochs=14, batch_size=64, lr=1e-30, schedule="plateau", images_per_class=1)
    rates: list[float] = []

    def stop_once(line: Any) -> None:
        rates.append(line.lr)
        if len(rates) == 6:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        train_predictor(database, one_image, config, run_dir=tmp_path, on_epoch=stop_once)
    train_predictor(database, one_image, config, run_dir=tmp_path, on_epoch=stop_once)
    assert rates == pytest.approx([1e-30] * 12 + [1e-31] * 2)


@kinds
def test_a_damaged_state_says_what_to_do(
    kind: str, database: MetaDatabase, classes: ClassFeatures, tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, epochs=1)
    run(kind, database, classes, config, run_dir=tmp_path)
    path = tmp_path / f"{kind}.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="to train from the start"):
        run(kind, database, classes, config, run_dir=tmp_path)


def test_a_state_of_other_settings_or_data_is_refused(
    database: MetaDatabase, classes: ClassFeatures, tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, epochs=1)
    train_generator(database, classes, config, run_dir=tmp_path)
    with pytest.raises(CheckpointError, match="other settings or data"):
        train_generator(database, classes, dataclasses.replace(config, epochs=2), run_dir=tmp_path)
    with pytest.raises(CheckpointError, match="other settings or data"):
        train_generator(toy_database(seed=1), classes, config, run_dir=tmp_path)


def test_validation_rows_do_not_train(database: MetaDatabase, classes: ClassFeatures) -> None:
    changed = dataclasses.replace(
        database, accuracy=torch.where(database.valid, torch.rand(64) * 100, database.accuracy)
    )
    assert same(
        train_predictor(database, classes, CONFIG).predictor,
        train_predictor(changed, classes, CONFIG).predictor,
    )


def test_rows_of_the_other_protocol_can_be_left_out(database: MetaDatabase, classes: ClassFeatures) -> None:
    config = dataclasses.replace(CONFIG, epochs=1, first_protocol_only=True)
    other = database.protocol == 1
    changed = dataclasses.replace(
        database, vertices=torch.where(other[:, None], database.vertices[1], database.vertices)
    )
    assert same(train_generator(database, classes, config), train_generator(changed, classes, config))


def test_the_best_epoch_is_kept_where_asked(database: MetaDatabase, classes: ClassFeatures) -> None:
    """The plateau schedule does not know the number of epochs, so a shorter run ends at the same weights."""
    config = dataclasses.replace(CONFIG, epochs=6, lr=0.05, schedule="plateau", keep_best=True)
    lines: list[Any] = []
    best = train_predictor(database, classes, config, on_epoch=lines.append)
    chosen = max(range(6), key=lambda i: lines[i].pearson)
    assert chosen < 5, "the last epoch of this toy is meant not to be the best"
    last = dataclasses.replace(config, keep_best=False)  # the default
    shorter = train_predictor(database, classes, dataclasses.replace(last, epochs=chosen + 1))
    assert same(best.predictor, shorter.predictor)
    assert not same(best.predictor, train_predictor(database, classes, last).predictor)


def test_the_predictor_learns_and_its_scores_are_accuracies(database: MetaDatabase, classes: ClassFeatures) -> None:
    lines: list[Any] = []
    single = dataclasses.replace(database, protocol=torch.zeros(64, dtype=torch.int64))
    single = dataclasses.replace(single, accuracy=single.accuracy + 16 * database.protocol)
    config = dataclasses.replace(CONFIG, epochs=30, lr=5e-3, target_std=0.5)
    trained = train_predictor(single, classes, config, on_epoch=lines.append)
    assert max(line.pearson for line in lines) > 0.8
    sets = classes.draw(single.task_classes[:1], 4, torch.Generator().manual_seed(0))
    percent = trained.mean + trained.scale * trained.predictor.score(sets, single.vertices[~single.valid])[0]
    truth = single.accuracy[~single.valid]
    assert trained.mean == pytest.approx(truth.mean().item(), abs=1e-4)
    assert (percent - truth).abs().mean() < (truth - truth.mean()).abs().mean() / 2


def test_the_generator_learns_which_cells_the_database_holds(classes: ClassFeatures) -> None:
    base = toy_database()
    held = dataclasses.replace(base, vertices=CELLS[[11, 500]][torch.arange(64) // 4 % 2])
    lines: list[Any] = []
    config = dataclasses.replace(CONFIG, epochs=25, lr=1e-2)
    model = train_generator(held, classes, config, on_epoch=lines.append)
    assert lines[-1].valid_nll < 1.5 < lines[0].valid_nll  # a fair coin costs 0.69 nats
    z = model.encode(classes.draw(held.task_classes[:1], 4, torch.Generator()))[0]
    drawn = model.decoder.sample(z.expand(100, -1), torch.Generator().manual_seed(0))
    known = (drawn[:, None] == CELLS[[11, 500]]).all(-1).any(1)
    assert known.float().mean() > 0.8


def test_release_settings_are_the_authors() -> None:
    for config in (GENERATOR_RELEASE, PREDICTOR_RELEASE):
        assert (config.epochs, config.batch_size, config.lr, config.schedule) == (400, 32, 1e-4, "plateau")
        assert (config.weight_decay, config.images_per_class, config.first_protocol_only) == (0, 20, False)
    assert PREDICTOR_RELEASE.keep_best and PREDICTOR_RELEASE.target_std == 0.01
    assert not GENERATOR_RELEASE.keep_best


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 2.5),
        ("images_per_class", True),
        ("seed", -1),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("weight_decay", -1.0),
        ("target_std", "1"),
        ("schedule", "step"),
    ],
)
def test_bad_settings(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be"):
        dataclasses.replace(CONFIG, **{name: value})


def test_a_diverging_run_names_the_learning_rate(database: MetaDatabase, classes: ClassFeatures) -> None:
    with pytest.raises(ConfigError, match="lower learning rate"):
        train_predictor(database, classes, dataclasses.replace(CONFIG, lr=1e30))


def test_a_database_without_validation_rows(database: MetaDatabase, classes: ClassFeatures) -> None:
    with pytest.raises(DatasetError, match="got 64 and 0"):
        train_generator(dataclasses.replace(database, valid=torch.zeros(64, dtype=torch.bool)), classes, CONFIG)


def test_constant_accuracy_cannot_be_predicted(database: MetaDatabase, classes: ClassFeatures) -> None:
    with pytest.raises(DatasetError, match="nothing to predict"):
        train_predictor(dataclasses.replace(database, accuracy=torch.full((64,), 70.0)), classes, CONFIG)
