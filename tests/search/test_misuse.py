"""Wrong types and names end in a sentence of the package's own errors, not in one of Python's from inside."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from meta_toys import SPACE, checkpoint, image_dataset

from metad2a_plugin import (
    AutoConfig,
    Budget,
    Effort,
    Limits,
    MetaD2A,
    MetaD2AError,
    Task,
    TrainConfig,
    export_network,
    extract_task,
    get_predictor,
    get_space,
    get_strategy,
    load_network,
    maximize,
    predict_images,
    search_space,
)
from metad2a_plugin.errors import CheckpointError, ConfigError, DatasetError
from metad2a_plugin.spaces.mobilenetv3.supernet import load_supernet

SEARCHER = MetaD2A(checkpoint())
CELL = SPACE.parse("100")
FEATURES, LABELS = np.random.default_rng(0).random((4, 3)), np.array([0, 1, 0, 1])
NONE_OF_THEM: tuple[Any, ...] = (None, 1, 1.5, "x", b"x", [], {}, np.int64(3), np.arange(2), object(), float("nan"))
NO_LIST = tuple(value for value in NONE_OF_THEM if not isinstance(value, list))


def ways() -> dict[str, tuple[Any, tuple[Any, ...]]]:
    strategy, params = get_strategy("random")(SPACE), get_predictor("params")(SPACE)
    rest = tuple(value for value in NONE_OF_THEM if value is not None)
    return {
        "features": (lambda v: Task(v, LABELS), NONE_OF_THEM),
        "labels": (lambda v: Task(FEATURES, v), NONE_OF_THEM),
        "architectures": (lambda v: params.predict(None, v), (*NO_LIST, CELL, SPACE.format(CELL), torch.arange(8))),
        "architectures of a search": (lambda v: SEARCHER.predict(None, v), (*NO_LIST, CELL)),
        "vertices": (SPACE.costs, (*NONE_OF_THEM, CELL)),
        "limits": (lambda v: SEARCHER.search(image_dataset(), limits=v), rest),
        "effort": (lambda v: SEARCHER.search(image_dataset(), effort=v), rest),
        "latency": (lambda v: Limits(SPACE, max_latency=v), (None, 1, 1.5, "x", [], object())),
        "options": (lambda v: Limits(SPACE, options=v), (None, 1, "x", [], object())),
        "space of limits": (Limits, NONE_OF_THEM),
        "checkpoint": (MetaD2A, NONE_OF_THEM),
        "checkpoint's name": (MetaD2A.from_pretrained, NONE_OF_THEM),
        "space's name": (get_space, NONE_OF_THEM),
        "space of a search": (lambda v: search_space(v, "params"), NONE_OF_THEM),
        "strategy's space": (get_strategy("random"), NONE_OF_THEM),
        "strategy's seed": (lambda v: get_strategy("random")(SPACE, seed=v), (None, 1.5, "x", [], {}, np.int64(3))),
        "predictor's space": (get_predictor("params"), NONE_OF_THEM),
        "strategy": (lambda v: maximize(v, lambda asked: [1.0] * len(asked), 3), NONE_OF_THEM),
        "values": (lambda v: maximize(strategy, v, 3), NONE_OF_THEM),
        "network": (lambda v: export_network("out.safetensors", v), NONE_OF_THEM),
        "network's file": (load_network, NONE_OF_THEM),
        "network of images": (lambda v: predict_images(v, image_dataset()), NONE_OF_THEM),
        "options of a training": (lambda v: TrainConfig(options=v), (None, 1, "x", [], object())),
    }


@pytest.mark.parametrize("way", ways())
def test_a_wrong_type_is_said(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    use, values = ways()[way]
    for value in values:
        with pytest.raises(MetaD2AError) as caught:
            use(value)
        assert len(str(caught.value)) < 600
    assert list(tmp_path.iterdir()) == []


def test_a_task_of_arrays_or_lists_is_one_of_tensors() -> None:
    expected = Task(torch.from_numpy(FEATURES), torch.from_numpy(LABELS))
    for features, labels in ((FEATURES, LABELS), (FEATURES.tolist(), LABELS.tolist())):
        assert Task(features, labels).features.equal(expected.features)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "wrong", "meant"),
    [
        (TrainConfig, "epoch", "epochs"),
        (AutoConfig, "sede", "seed"),
        (Budget, "epoch", "epochs"),
        (Effort, "candidate", "candidates"),
        (lambda **options: Limits(SPACE, **options), "max_param", "max_params"),
        (lambda **options: get_strategy("metad2a")(SPACE, **options), "datset", "dataset"),
        (lambda **options: get_strategy("metad2a")(SPACE, **options), "chanels", "channels"),
    ],
)
def test_a_mistyped_name_is_answered_by_the_near_one(kind: Any, wrong: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{wrong}' .did you mean '{meant}'"):
        kind(**{wrong: 1})


def test_a_mistyped_checkpoint_is_answered_by_the_near_one() -> None:
    with pytest.raises(CheckpointError, match="did you mean 'nasbench201'"):
        MetaD2A.from_pretrained("nasbench")


def test_an_array_for_a_resolution_is_read_or_refused() -> None:
    space = get_space("mobilenetv3")
    config: dict[str, Any] = {"ks": [3] * 20, "e": [3] * 20, "d": [2] * 5, "r": 192}
    assert space.from_config(config | {"r": np.array([192])}) == space.from_config(config)  # type: ignore[attr-defined]
    for wrong in (np.array([]), np.array(["x"]), {}, object(), np.array([[192.5]]), 7):
        with pytest.raises(MetaD2AError):
            space.from_config(config | {"r": wrong})  # type: ignore[attr-defined]


def test_a_default_dtype_that_does_not_fit_is_refused() -> None:
    task = extract_task(image_dataset(), cache_dir=False)
    torch.set_default_dtype(torch.float64)
    try:
        for use in (
            lambda: SEARCHER.search(task),
            lambda: SEARCHER.predict(None, [CELL]),
            lambda: MetaD2A.from_pretrained("nasbench201"),
            lambda: get_predictor("naswot")(SPACE, image_dataset(), batch_size=8),
            lambda: extract_task(image_dataset(), cache_dir=False).features,
        ):
            with pytest.raises(ConfigError, match=r"default dtype is torch\.float64.*set_default_dtype"):
                use()
    finally:
        torch.set_default_dtype(torch.float32)


def test_nobody_is_advised_to_run_what_is_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "file.pt").write_bytes(pickle.dumps({"code": Path("x")}))
    with pytest.raises(CheckpointError, match="can run code and are not read") as caught:
        load_supernet(tmp_path / "file.pt")
    assert "weights_only" not in str(caught.value)


def test_without_data_no_folder_of_ours_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapters = pytest.importorskip("metad2a_plugin.adapters.nas_bench_201")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("METAD2A_DATA", raising=False)
    for use in (adapters.default_benchmark, adapters.NASBench201Table.load):
        with pytest.raises(DatasetError, match=r"METAD2A_DATA, .* is not set") as caught:
            use()
        assert "shared" not in str(caught.value)
