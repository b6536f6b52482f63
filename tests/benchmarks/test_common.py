from __future__ import annotations

import json
from pathlib import Path

import _common as common
import pytest
import torch

from metad2a_plugin.data import extract_task


def test_a_finished_part_is_not_computed_again_unless_its_key_changed(tmp_path: Path) -> None:
    computed = []

    def compute() -> list[float]:
        computed.append(1)
        return [1.5, len(computed)]

    path = tmp_path / "parts" / "one.json"
    assert common.remember(path, {"seed": 0}, compute) == [1.5, 1]
    assert common.remember(path, {"seed": 0}, compute) == [1.5, 1]
    assert common.remember(path, {"seed": 1}, compute) == [1.5, 2]
    path.write_text("half a file")
    assert common.remember(path, {"seed": 1}, compute) == [1.5, 3]


def test_numbers_carry_their_spread_and_their_aim() -> None:
    assert common.mean_std([0.8, 0.9]) == "0.850 ± 0.071"
    assert common.mean_std([0.8], 1) == "0.8"
    assert common.aim([0.8, 0.9], 0.85, 2) == "≥ 0.85 met"
    assert common.aim([0.8, 0.8], 0.85, 2) == "≥ 0.85 missed"


def test_a_table_is_markdown() -> None:
    assert common.markdown(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


def test_settings_hold_no_paths() -> None:
    options = common.parser("doc").parse_args(["--data", "/somewhere/data", "--out", "/somewhere/out"])
    written = json.dumps(common.settings(options))
    assert "somewhere" not in written and '"torch"' in written and '"threads": 1' in written


def test_a_missing_checkpoint_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"meta_seeds\.py"):
        common.fingerprint(tmp_path / "seed-3")


def test_imagenet16_is_the_first_120_classes_at_16_pixels(toy_data: Path) -> None:
    images = common.Data(toy_data).images("imagenet16-120")
    assert images.num_classes == 16 and images.image(0).shape == (16, 16, 3)


def test_validation_tasks_hold_all_images_of_their_classes(toy_data: Path) -> None:
    (task,) = common.Data(toy_data).validation_tasks(1)
    assert task.num_classes == 4 and len(task.features) == 16 and task.encoder == "default"


@pytest.mark.filterwarnings("ignore")
def test_teacher_features_are_in_the_order_of_the_images(data_root: Path) -> None:
    data = common.Data(data_root)
    teacher = data.teacher
    name = data.database.class_folders[int(teacher.count.argmax())]
    of_class = data.imagenet.class_names.index(name)
    some = data.imagenet.subset([i for i, label in enumerate(data.imagenet.labels) if label in (of_class, 0)])
    task = extract_task(some, max_images_per_class=None, progress=False)
    ours = task.features[task.labels == list(task.class_names).index(name)]
    start, count = int(teacher.start[teacher.count.argmax()]), int(teacher.count.max())
    theirs = teacher.features[start : start + count]
    likeness = torch.nn.functional.cosine_similarity(ours[:, None], theirs[None], dim=-1)
    assert (likeness.argmax(1) == torch.arange(count)).double().mean() > 0.5
