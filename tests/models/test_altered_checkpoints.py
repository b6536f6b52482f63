"""A checkpoint that was altered is refused, or it answers as before; it never answers with what is no number."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile_toys import VALUES, altered_bytes, as_json
from meta_toys import CELLS, image_dataset
from safetensors.torch import load_file, save

from metad2a_plugin.data import Task, extract_task
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.models.checkpoint import Checkpoint, load_checkpoint
from metad2a_plugin.models.predictor import PaperAccuracy, PaperPredictor
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.search.predictor import CheckpointPredictor
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.spaces.nasbench201.space import NASBench201

Config, Tensors = dict[str, Any], dict[str, torch.Tensor]
STAGES = MobileNetV3Space()
SOME = {
    "nasbench201": CELLS[::300],
    "mobilenetv3": STAGES.encode([STAGES.sample(random.Random(i)) for i in range(20)]),
}


def places(config: Config, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Where values stand, apart from the details of how a model was trained."""
    found = []
    for name, value in config.items():
        found.append((*prefix, name))
        if isinstance(value, dict) and name not in ("metrics", "tables", "schedule"):
            found += places(value, (*prefix, name))
    return found


def holder(config: Config, place: tuple[str, ...]) -> Config:
    for name in place[:-1]:
        config = config[name]
    return config


def number(rng: random.Random, config: Config, tensors: Tensors) -> None:
    found = [p for p in places(config) if type(holder(config, p)[p[-1]]) in (int, float)]
    where = rng.choice(found)
    others = [0, -1, 1, 2, 7, 8, 40_000, 10**9, 10**400, 0.5, float("nan"), 1e308]
    holder(config, where)[where[-1]] = rng.choice(others)


def value(rng: random.Random, config: Config, tensors: Tensors) -> None:
    where = rng.choice(places(config))
    holder(config, where)[where[-1]] = rng.choice(VALUES)


def missing(rng: random.Random, config: Config, tensors: Tensors) -> None:
    where = rng.choice(places(config))
    del holder(config, where)[where[-1]]


def extra(rng: random.Random, config: Config, tensors: Tensors) -> None:
    where = rng.choice(places(config))
    holder(config, where)[rng.choice(["more", "", "\0", "a" * 5000])] = rng.choice(VALUES)


def sizes(rng: random.Random, config: Config, tensors: Tensors) -> None:
    generator = config["generator"]
    if generator is None:
        config["generator"] = {"feature_dim": 256, "hidden": 40_000, "latent": 40_000, "heads": 4}
    else:
        others = [0, 1, 2, 3, 8, 57, 40_000, 2**31, 2**63, -56, 56.0, "56", True]
        generator[rng.choice(list(generator))] = rng.choice(others)


def names(rng: random.Random, config: Config, tensors: Tensors) -> None:
    config["space"] = rng.choice(["mobilenetv3", "nasbench201", "nasbench-101", ""])
    config["predictor"] = rng.choice(["ensemble", "paper", "budget", "oracle", ""])


def tensor_missing(rng: random.Random, config: Config, tensors: Tensors) -> None:
    del tensors[rng.choice(sorted(tensors))]


def tensor_extra(rng: random.Random, config: Config, tensors: Tensors) -> None:
    tensors[rng.choice(["more", "predictor.more", "generator.more", "predictor.", ""])] = torch.zeros(3)


def shape(rng: random.Random, config: Config, tensors: Tensors) -> None:
    name = rng.choice(sorted(tensors))
    tensor = tensors[name]
    kinds: list[Callable[[], torch.Tensor]] = [
        lambda: tensor[:-1],
        lambda: torch.cat([tensor, tensor]),
        lambda: tensor[None],
        lambda: tensor[..., :0],
        lambda: tensor.reshape(-1) if tensor.ndim > 1 else tensor.reshape(-1, 1),
        lambda: torch.zeros(()),
    ]
    tensors[name] = rng.choice(kinds)().contiguous()


def dtype(rng: random.Random, config: Config, tensors: Tensors) -> None:
    name = rng.choice(sorted(tensors))
    kinds = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64]
    tensors[name] = tensors[name].to(rng.choice(kinds))


def no_number(rng: random.Random, config: Config, tensors: Tensors) -> None:
    name = rng.choice(sorted(name for name in tensors if tensors[name].numel()))
    flat = tensors[name].flatten().clone()
    flat[rng.randrange(len(flat))] = rng.choice([float("nan"), float("inf"), float("-inf")])
    tensors[name] = flat.view(tensors[name].shape)


def constant(rng: random.Random, config: Config, tensors: Tensors) -> None:
    """What divides, or is squared and summed, at the ends of its range; such another model is read, if it is one."""
    name = rng.choice(sorted(tensors))
    tensors[name] = torch.full_like(tensors[name], rng.choice([0.0, -1.0, 60_000.0, -60_000.0]))


KINDS: dict[str, Callable[[random.Random, Config, Tensors], None]] = {
    "a number of the configuration": number,
    "a value of another type": value,
    "a value is missing": missing,
    "a value more": extra,
    "sizes of the generator": sizes,
    "other names": names,
    "a tensor is missing": tensor_missing,
    "a tensor more": tensor_extra,
    "another shape": shape,
    "another dtype": dtype,
    "a weight that is no number": no_number,
    "constant weights": constant,
    "bytes of the weights": lambda rng, config, tensors: None,
    "bytes of the configuration": lambda rng, config, tensors: None,
}


@pytest.fixture(scope="module")
def task() -> Task:
    return extract_task(image_dataset(), cache_dir=False)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each kind of predictor."""
    folder = tmp_path_factory.mktemp("originals")
    for name in ("nasbench201", "mobilenetv3", "nasbench201-budget"):
        load_checkpoint(name).save(folder / name)
    torch.manual_seed(0)
    network = PaperPredictor(feature_dim=256, hidden=24, latent=8).eval()
    paper = PaperAccuracy(network, 70.0, 5.0, 1.5)
    Checkpoint("paper", "nasbench201", "default", "1", paper, None, {"seed": 0, "metrics": {}}).save(folder / "paper")
    return {path.name: path for path in folder.iterdir()}


def answers(checkpoint: Checkpoint, task: Task) -> torch.Tensor:
    space = {"nasbench201": NASBench201(), "mobilenetv3": STAGES}[checkpoint.space]
    found = CheckpointPredictor(space, checkpoint).predict(task, SOME[checkpoint.space])
    assert found.std is not None
    parts = [found.mean, found.std]
    if checkpoint.generator is not None:
        parts.append(checkpoint.generator.encode(task.draw(1))[0].detach().flatten())
    return torch.cat(parts)


def alter(kind: str, original: Path, folder: Path, rng: random.Random) -> None:
    """Write an altered copy, with the digest of its weights renewed."""
    config = copy.deepcopy(json.loads((original / "config.json").read_bytes()))
    tensors = load_file(original / "model.safetensors")
    KINDS[kind](rng, config, tensors)
    heads = {} if not isinstance(config.get("generator"), dict) else {"heads": "4"}
    weights = save({name: tensor.contiguous() for name, tensor in tensors.items()}, heads)
    if kind == "bytes of the weights":
        weights = altered_bytes(rng, weights)
    if config.get("sha256") == json.loads((original / "config.json").read_bytes())["sha256"]:
        config["sha256"] = hashlib.sha256(weights).hexdigest()
    text = as_json(config)
    folder.mkdir()
    (folder / "config.json").write_bytes(altered_bytes(rng, text) if kind == "bytes of the configuration" else text)
    (folder / "model.safetensors").write_bytes(weights)


def outcome(kind: str, folder: Path, expected: torch.Tensor, task: Task) -> str:
    try:
        found = answers(load_checkpoint(folder), task)
    except (CheckpointError, ConfigError):
        return "refused"
    assert found.isfinite().all()
    if found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-4, atol=1e-4):
        return "as before"
    return "another model"


def table(counts: Counter[tuple[str, str]]) -> str:
    columns = ("refused", "as before", "another model")
    rows = [f"{'altered':32}" + "".join(f"{column:>15}" for column in columns)]
    rows += [f"{kind:32}" + "".join(f"{counts[kind, column]:15}" for column in columns) for kind in KINDS]
    return "\n".join(rows)


def run(count: int, seed: int, originals: dict[str, Path], task: Task, folder: Path) -> Counter[tuple[str, str]]:
    expected = {name: answers(load_checkpoint(path), task) for name, path in originals.items()}
    counts: Counter[tuple[str, str]] = Counter()
    for i in range(count):
        rng = random.Random(f"{seed} {i}")
        kind = list(KINDS)[i % len(KINDS)]
        # That of budgets takes longest to read.
        name = rng.choice([*("nasbench201", "mobilenetv3", "paper") * 2, "nasbench201-budget"])
        alter(kind, originals[name], folder / str(i), rng)
        counts[kind, outcome(kind, folder / str(i), expected[name], task)] += 1
    for kind in KINDS:
        # Other weights are another model: only there, nothing can be told.
        assert kind in ("constant weights", "bytes of the weights") or counts[kind, "another model"] == 0, table(counts)
    return counts


def test_altered_checkpoints_are_refused_or_answer_as_before(
    originals: dict[str, Path], task: Task, tmp_path: Path
) -> None:
    assert sum(run(42, 0, originals, task, tmp_path).values()) == 42


@pytest.mark.slow
def test_500_altered_checkpoints_are_refused_or_answer_as_before(
    originals: dict[str, Path], task: Task, tmp_path: Path
) -> None:
    counts = run(504, 1, originals, task, tmp_path)
    print(f"\n{table(counts)}")
    assert sum(counts.values()) == 504


@pytest.mark.parametrize("latent", [40_000, 2**40])
def test_sizes_that_take_gigabytes_are_refused(originals: dict[str, Path], tmp_path: Path, latent: int) -> None:
    folder = tmp_path / "large"
    alter("another dtype", originals["nasbench201"], folder, random.Random(0))
    config = json.loads((originals["nasbench201"] / "config.json").read_bytes())
    config["generator"] |= {"latent": latent, "hidden": latent}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"generator.hidden must be an integer from 1 to 4,096"):
        load_checkpoint(folder)


def test_weights_that_are_finite_but_overflow_together_give_no_ranking(
    originals: dict[str, Path], task: Task
) -> None:
    made = load_checkpoint(originals["nasbench201"])
    state: Any = made.predictor
    object.__setattr__(state, "cell_weight", torch.full_like(state.cell_weight, 3e38))
    with pytest.raises(CheckpointError, match="no numbers"):
        answers(made, task)


@pytest.mark.slow
def test_a_budget_s_answers_are_numbers_too(originals: dict[str, Path], task: Task) -> None:
    made = load_checkpoint(originals["nasbench201-budget"])
    state: Any = made.predictor
    state.heads[0].hyper.architecture.fill_(float("nan"))
    budget = Budget(epochs=3, images=100)
    with pytest.raises(CheckpointError, match=r"no covariance|no numbers"):
        CheckpointPredictor(NASBench201(), made, budget).predict(task, CELLS[:5])
