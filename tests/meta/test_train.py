from __future__ import annotations

import dataclasses
import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from meta_toys import CELLS, MOBILE, FitConfig, Toy, class_images, image_dataset, mobile_toy, toy, write_folder

from metad2a_plugin.data import ImageDataset, extract_task
from metad2a_plugin.errors import ArchitectureError, ConfigError, DatasetError, MetaD2AError
from metad2a_plugin.meta import train
from metad2a_plugin.meta.config import MetaTrainConfig
from metad2a_plugin.meta.fit import BenchmarkTable
from metad2a_plugin.meta.metrics import spearman
from metad2a_plugin.meta.train import meta_train
from metad2a_plugin.models.checkpoint import Checkpoint, load_checkpoint
from metad2a_plugin.models.predictor import PaperPredictor
from metad2a_plugin.plugins.registry import get_predictor


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """The recipes, with a moment's work in each."""
    monkeypatch.setattr(
        train, "FitConfig", partial(FitConfig, members=2, folds=2, fold_members=1, iterations=4, factors=4)
    )
    for name in ("GENERATOR", "PREDICTOR", "GENERATOR_RELEASE", "PREDICTOR_RELEASE"):
        monkeypatch.setattr(train, name, dataclasses.replace(getattr(train, name), epochs=2, images_per_class=2))
    monkeypatch.setattr(PaperPredictor, "of_space", partial(PaperPredictor.of_space, hidden=24))
    monkeypatch.setattr(train, "generator_metrics", partial(train.generator_metrics, tasks=2, n=30))


@pytest.fixture(scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METAD2A_CACHE", str(_cache))
    return _cache


@pytest.fixture(scope="module")
def made() -> Toy:
    return toy(rows=80)


@pytest.fixture(scope="module")
def images() -> ImageDataset:
    return class_images()


@pytest.fixture
def database(made: Toy, tmp_path: Path) -> Path:
    return write_folder(tmp_path / "database", made)


def same(a: Checkpoint, b: Checkpoint) -> bool:
    pairs = [(a.predictor.state_dict(), b.predictor.state_dict())]
    if a.generator is not None and b.generator is not None:
        pairs.append((a.generator.state_dict(), b.generator.state_dict()))
    return all(torch.equal(x[name], y[name]) for x, y in pairs for name in x | y)


# -- from files to a checkpoint ------------------------------------------------------------------
@pytest.mark.parametrize("recipe", ["default", "paper", "release"])
def test_a_checkpoint_is_written_with_its_card(
    recipe: str, made: Toy, database: Path, images: ImageDataset, tmp_path: Path, cache: Path
) -> None:
    out = tmp_path / "mine"
    calls: list[tuple[str, int, int]] = []
    written = meta_train(
        database,
        images,
        out,
        MetaTrainConfig(recipe=recipe, seed=3),
        progress=lambda stage, done, total, note: calls.append((stage, done, total)),
        command="metad2a meta-train mine",
    )
    assert sorted(p.name for p in out.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert not list(tmp_path.rglob(".partial-*")) and not list(cache.rglob(".partial-*"))
    read = load_checkpoint(out)
    assert (read.kind, read.name) == ("ensemble" if recipe == "default" else "paper", "mine")
    task = extract_task(image_dataset())
    before, after = (c.predictor.predict_task(task, CELLS[::50]).mean for c in (written, read))
    assert torch.allclose(before, after, atol=0.05) and after.isfinite().all()
    assert read.generator is not None

    training = json.loads((out / "config.json").read_text())["training"]
    assert training == written.training
    assert (training["recipe"], training["seed"], training["tables"]) == (recipe, 3, [])
    assert (training["rows"], training["validation_rows"], training["tasks"]) == (60, 20, 160)
    assert training["images"] == 2 * len(made.database.task_classes.unique())
    metrics = training["metrics"]
    assert all(np.isfinite(value) for value in metrics.values())
    assert {"pearson", "spearman", "coverage_90", "width_90", "generator_valid", "generator_unique"} <= set(metrics)
    assert ("pearson_blind" in metrics) == (recipe == "default")
    assert metrics["generator_valid"] == metrics["generator_unique"] == 100

    card = (out / "README.md").read_text()
    assert card.startswith("# mine: MetaD2A for nasbench201")
    for part in (f"Recipe: {recipe}, seed 3", "60 training rows, 20 validation rows", "`metad2a meta-train mine`"):
        assert part in card
    assert f"| pearson | {metrics['pearson']:.3f} |" in card
    # Every stage is reported from its first step to its last.
    for stage in ("predictor", "generator"):
        steps = [(done, total) for name, done, total in calls if name == stage]
        assert [done for done, _ in steps] == list(range(1, len(steps) + 1)) and steps[-1][0] == steps[-1][1]


def test_without_a_generator(database: Path, images: ImageDataset, tmp_path: Path) -> None:
    made = meta_train(database, images, tmp_path / "mine", MetaTrainConfig(generator=False))
    assert made.generator is None and load_checkpoint(tmp_path / "mine").generator is None
    assert not [name for name in made.training["metrics"] if name.startswith("generator")]


def test_same_seed_same_checkpoint(database: Path, images: ImageDataset, tmp_path: Path) -> None:
    for name in ("first", "again"):
        meta_train(database, images, tmp_path / name, MetaTrainConfig(generator=False))
        torch.rand(3)
    first, again = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "again"))
    assert first == again
    other = meta_train(database, images, tmp_path / "other", MetaTrainConfig(generator=False, seed=1))
    assert not same(other, load_checkpoint(tmp_path / "first"))


def test_tables_are_named_in_the_card(database: Path, images: ImageDataset, tmp_path: Path) -> None:
    table = BenchmarkTable(torch.rand(len(CELLS)) * 50, torch.ones(len(CELLS)))
    made = meta_train(
        database, images, tmp_path / "mine", MetaTrainConfig(generator=False), tables={"cifar10": table}
    )
    assert made.training["tables"] == ["cifar10"]
    assert "- Benchmark tables: cifar10." in (tmp_path / "mine" / "README.md").read_text()
    read = load_checkpoint(tmp_path / "mine").predictor.predict_task(None, CELLS[::50])
    assert torch.allclose(read.mean, made.predictor.predict_task(None, CELLS[::50]).mean, atol=0.05)


# -- another space -------------------------------------------------------------------------------
def test_a_space_that_cannot_be_listed(images: ImageDataset, tmp_path: Path) -> None:
    made = mobile_toy(tasks=16)
    folder = write_folder(tmp_path / "database", made, protocol=False)
    config = MetaTrainConfig(space="mobilenetv3")
    written = meta_train(folder, images, tmp_path / "mine", config)
    read = load_checkpoint(tmp_path / "mine")
    assert read.space == "mobilenetv3" and read.kind == "ensemble" and read.generator is not None
    task, networks = extract_task(image_dataset()), made.database.vertices
    before, after = (c.predictor.predict_task(task, networks).mean for c in (written, read))
    assert torch.allclose(before, after, atol=0.05)
    z = read.generator.encode(task.draw(1))[0]
    drawn = read.generator.decoder.sample_distinct(z, 40, torch.Generator().manual_seed(0))[0]
    assert torch.equal(MOBILE.encode(MOBILE.decode(drawn)), drawn)
    training = written.training
    assert training["generator_targets"] == "best-of-10" and training["tables"] == []
    assert {"spearman_twin", "pearson_within", "pearson_within_twin", "generator_gain"} <= set(training["metrics"])
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "MetaD2A for mobilenetv3" in card and "each the best predicted of ten random ones" in card
    again = meta_train(folder, images, tmp_path / "again", config)
    assert same(again, written)


def test_the_paper_s_models_in_another_space(images: ImageDataset, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "database", mobile_toy(tasks=8), protocol=False)
    config = MetaTrainConfig(space="mobilenetv3", recipe="paper", targets="rows")
    written = meta_train(folder, images, tmp_path / "mine", config)
    read = load_checkpoint(tmp_path / "mine")
    assert read.kind == "paper" and read.training["generator_targets"] == "rows"
    assert "learned the networks of the training rows" in (tmp_path / "mine" / "README.md").read_text()
    task, networks = extract_task(image_dataset()), MOBILE.encode([MOBILE.sample(random.Random(0))])
    before, after = (c.predictor.predict_task(task, networks).mean for c in (written, read))
    assert torch.allclose(before, after, atol=0.2)


def test_the_order_of_another_predictor(images: ImageDataset, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "database", mobile_toy(tasks=16), protocol=False)
    config = MetaTrainConfig(space="mobilenetv3", quality="ofa-imagenet", generator=False)
    made = meta_train(folder, images, tmp_path / "mine", config)
    networks = MOBILE.encode([MOBILE.sample_balanced(random.Random(i)) for i in range(60)])
    wanted = get_predictor("ofa-imagenet")(MOBILE).predict(None, networks).mean
    for task in (None, extract_task(image_dataset())):
        assert spearman(made.predictor.predict_task(task, networks).mean, wanted) > 0.98
    assert made.training["quality"] == "ofa-imagenet"
    assert "that of the predictor `ofa-imagenet`" in (tmp_path / "mine" / "README.md").read_text()


def test_a_quality_that_the_database_contradicts_is_refused(images: ImageDataset, tmp_path: Path) -> None:
    toy_ = mobile_toy(tasks=16)
    upside_down = dataclasses.replace(toy_.database, accuracy=100 - toy_.database.accuracy)
    folder = write_folder(tmp_path / "database", dataclasses.replace(toy_, database=upside_down), protocol=False)
    config = MetaTrainConfig(space="mobilenetv3", quality="ofa-imagenet", generator=False)
    with pytest.raises(DatasetError, match="networks of higher quality are no better"):
        meta_train(folder, images, tmp_path / "mine", config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quality": "metad2a"}, "a predictor that needs no dataset, not 'metad2a'"),
        ({"quality": "flop"}, "no 'flop' among the predictors"),
        ({"quality": "flops", "recipe": "paper"}, "cannot use a quality"),
    ],
)
def test_qualities_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MetaTrainConfig(space="mobilenetv3", **changes)


def test_tables_need_a_space_that_can_be_listed(images: ImageDataset, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "database", mobile_toy(tasks=8), protocol=False)
    with pytest.raises(ConfigError, match="what benchmark tables say can only be learned in a search space of at most"):
        meta_train(
            folder,
            images,
            tmp_path / "mine",
            MetaTrainConfig(space="mobilenetv3"),
            tables={"cifar10": BenchmarkTable(torch.rand(9), torch.ones(9))},
        )


@pytest.mark.parametrize(
    ("changes", "targets"),
    [
        ({}, "rows"),
        ({"recipe": "paper"}, "rows"),
        ({"targets": "best-of-10"}, "best-of-10"),
        ({"space": "mobilenetv3"}, "best-of-10"),
        ({"space": "mobilenetv3", "targets": "rows"}, "rows"),
    ],
)
def test_what_a_generator_learns_by_default(changes: dict[str, Any], targets: str) -> None:
    assert MetaTrainConfig(**changes).generator_targets == targets


# -- interruption --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("recipe", "steps"), [("default", (1, 3, 5)), pytest.param("paper", (1, 3), marks=pytest.mark.slow)]
)
def test_an_interrupted_meta_training_goes_on_where_it_stopped(
    recipe: str, steps: tuple[int, ...], database: Path, images: ImageDataset, tmp_path: Path
) -> None:
    config = MetaTrainConfig(recipe=recipe)
    whole = meta_train(database, images, tmp_path / "whole", config)
    out, kept = tmp_path / "out", dict[Path, int]()

    def stop_at(step: int) -> Any:
        calls = iter(range(1, 100))

        def progress(stage: str, done: int, total: int, note: str) -> None:
            if next(calls) == step:
                raise KeyboardInterrupt

        return progress

    for step in steps:
        with pytest.raises(KeyboardInterrupt):
            # Work that is done is reported again at once by the default recipe, and not at all by the other.
            meta_train(database, images, out, config, progress=stop_at(step if recipe == "default" else 1))
        assert not (out / "config.json").exists(), "half a checkpoint must not look like one"
        files = {p: p.stat().st_mtime_ns for p in (tmp_path / "out.run").rglob("ensemble-*/*.safetensors")}
        assert kept.items() <= files.items(), "finished work was done again"
        kept = files
    resumed = meta_train(database, images, out, config)
    assert same(resumed, whole)
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
    assert not list(tmp_path.rglob(".partial-*"))


def test_a_damaged_fit_is_made_again(database: Path, images: ImageDataset, tmp_path: Path) -> None:
    config = MetaTrainConfig(generator=False)
    first = meta_train(database, images, tmp_path / "mine", config, run_dir=tmp_path / "work")
    files = sorted((tmp_path / "work").rglob("member-*.safetensors"))
    assert len(files) == 2 and not (tmp_path / "mine.run").exists()
    files[0].write_bytes(files[0].read_bytes()[:50])
    assert same(meta_train(database, images, tmp_path / "mine", config, run_dir=tmp_path / "work"), first)


def test_work_of_other_data_is_not_taken(made: Toy, images: ImageDataset, tmp_path: Path) -> None:
    config, other = MetaTrainConfig(generator=False), toy(rows=80, seed=5)
    folders = [write_folder(tmp_path / f"database {i}", t) for i, t in enumerate((made, other))]
    meta_train(folders[0], images, tmp_path / "a", config, run_dir=tmp_path / "work")
    mixed = meta_train(folders[1], images, tmp_path / "b", config, run_dir=tmp_path / "work")
    assert same(mixed, meta_train(folders[1], images, tmp_path / "c", config))


# -- wrong input ---------------------------------------------------------------------------------
def write_row(folder: Path, text: str) -> None:
    with open(folder / "rows.csv", "a") as file:
        file.write(text + "\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "rows.csv").unlink(), "no rows.csv"),
        (lambda f: write_row(f, "0,|none~0|,50,train,0"), "rows.csv, line 82: expected 3 nodes"),
        (lambda f: write_row(f, "0,x,500,train,0"), "rows.csv, line 82: accuracy"),
        (lambda f: write_row(f, "999,x,50,train,0"), "rows.csv, line 82: .*unknown task"),
        (lambda f: (f / "map_clsloc.txt").write_text("n000 0 a\n"), "map_clsloc.txt lacks"),
    ],
)
def test_a_bad_database_is_refused_before_anything_is_written(
    damage: Any, message: str, database: Path, images: ImageDataset, tmp_path: Path
) -> None:
    damage(database)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((DatasetError, ArchitectureError), match=message):
        meta_train(database, images, tmp_path / "mine")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_class_without_an_image_is_named(database: Path, images: ImageDataset, tmp_path: Path) -> None:
    fewer = images.subset(images.labels != 20)
    with pytest.raises(DatasetError, match=r"1 classes .*have no images.*'n020'"):
        meta_train(database, fewer, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_images_of_other_classes(database: Path, tmp_path: Path) -> None:
    with pytest.raises(MetaD2AError, match="class"):
        meta_train(database, image_dataset(), tmp_path / "mine")


@pytest.mark.parametrize("recipe", ["paper", "release"])
def test_tables_are_of_no_use_to_the_paper_s_models(
    recipe: str, database: Path, images: ImageDataset, tmp_path: Path
) -> None:
    table = BenchmarkTable(torch.rand(len(CELLS)), torch.ones(len(CELLS)))
    with pytest.raises(ConfigError, match=f"'{recipe}' cannot use benchmark tables"):
        meta_train(database, images, tmp_path / "mine", MetaTrainConfig(recipe=recipe), tables={"a": table})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "best"}, "unknown recipe 'best'; known are default, paper, release"),
        ({"space": "mobilenet"}, "no 'mobilenet' among the spaces.*did you mean 'mobilenetv3'"),
        ({"targets": "row"}, "unknown generator targets 'row'.*did you mean 'rows'"),
        ({"space": "mobilenetv3", "selection": True}, r"at most 20,000 architectures.*mobilenetv3 has 2.18e\+19"),
    ],
)
def test_wrong_settings(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MetaTrainConfig(**changes)


def test_an_unknown_encoder(database: Path, images: ImageDataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown image encoder 'gone'"):
        meta_train(database, images, tmp_path / "mine", MetaTrainConfig(encoder="gone"))


def test_a_folder_that_cannot_be_written(database: Path, images: ImageDataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        meta_train(database, images, tmp_path / "file" / "mine", MetaTrainConfig(generator=False))
