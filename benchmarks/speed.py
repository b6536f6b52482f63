"""Seconds and memory of a search: the paper's loop, the same models as batched code, and what ships.

    python benchmarks/speed.py --data ../shared/data

Everything runs in one process with the same number of threads, on 20 images of each class of CIFAR-10 whose features
are there already, as in the paper's own count. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from metad2a_plugin import MetaD2A
from metad2a_plugin.data import Task, extract_task
from metad2a_plugin.models.generator import PaperGenerator
from metad2a_plugin.models.predictor import PaperPredictor

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks import _paper_loop as paper_loop
else:
    import _common as common
    import _paper_loop as paper_loop

IMAGES, DRAWS = 20, 10
AIMS = {"speed_up": 100.0, "search": 3.0, "memory": 1.0, "import": 0.2, "help": 0.5}
"""Times faster than the loop; seconds of a search; GB; seconds of ``import metad2a_plugin`` and ``metad2a --help``."""
MEMORY = {
    "search of CIFAR-10 from its images": "MetaD2A.from_pretrained({model!r}).search({images!r}, cache_dir=False)",
    "ranking of all 15,625 cells": "MetaD2A.from_pretrained({model!r}).rank(None)",
}
NOTES = """
After features, {threads} threads, 10 classes of 20 images, {candidates} candidates; median (least to most) of repeats.
The paper's loop decodes and scores graph by graph and encodes the dataset ten times for every candidate, on models of
the release's dimensions; *batched* is this package's code on the same models. Memory is the most that a fresh process
held; start-up is the time of a whole process, median of {starts}.
"""


# -- seconds -------------------------------------------------------------------------------------
def timed(work: Callable[[], object], repeats: int, warm_up: bool = True) -> list[float]:
    if warm_up:
        work()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return seconds


def draws_of(task: Task) -> Iterator[torch.Tensor]:
    """Endless image sets ``[classes, images, dim]``, each made when asked for, as in the release."""
    seed = 0
    while True:
        yield task.draw(1, images_per_class=IMAGES, seed=seed)[0]
        seed += 1


def papers_loop(generator: PaperGenerator, predictor: PaperPredictor, task: Task, candidates: int) -> list[int]:
    """Best first, as positions in the order of generation."""
    source = draws_of(task)
    cells = paper_loop.generate(generator, lambda: next(source), candidates)
    scores = [paper_loop.predict(predictor, lambda: next(source), cell) for cell in cells]
    return sorted(range(len(scores)), key=scores.__getitem__, reverse=True)


@torch.inference_mode()
def batched(generator: PaperGenerator, predictor: PaperPredictor, task: Task, candidates: int) -> torch.Tensor:
    """The same search with each draw of images and each graph encoded once."""
    sets = task.draw(DRAWS, images_per_class=IMAGES)
    z = generator.encode(sets)[0].mean(0, keepdim=True)
    cells, _ = generator.decoder.sample_distinct(z, candidates, torch.Generator().manual_seed(0))
    return cells[predictor.score(sets, cells).mean(0).argsort(descending=True)]


def seconds(searcher: MetaD2A, task: Task, options: argparse.Namespace) -> dict[str, list[float]]:
    generator = searcher.checkpoint.generator
    if generator is None:
        raise SystemExit(f"the checkpoint {searcher.checkpoint.name!r} has no generator")
    torch.manual_seed(0)
    # Untrained: the work is the same. The generator must be a trained one, or few of the loop's graphs are valid.
    predictor = PaperPredictor(feature_dim=task.features.shape[1]).eval().requires_grad_(False)
    count = options.candidates
    quick = {
        "the same models, batched": lambda: batched(generator, predictor, task, count),
        f"`MetaD2A.rank`, {count} candidates": lambda: searcher.rank(task, candidates=count),
        "`MetaD2A.rank`, all 15,625 cells": lambda: searcher.rank(task),
    }
    loop = timed(lambda: papers_loop(generator, predictor, task, count), options.loop_repeats, warm_up=False)
    return {"the paper's loop": loop} | {name: timed(work, options.repeats) for name, work in quick.items()}


# -- whole processes -----------------------------------------------------------------------------
def peak_memory(statement: str, threads: int) -> float:
    """GB that a fresh process held at most."""
    code = f"import torch; torch.set_num_threads({threads})\nfrom metad2a_plugin import MetaD2A\n{statement}"
    return common.watch(code)[1] / 1e3


def start_up(repeats: int) -> dict[str, list[float]]:
    program = shutil.which("metad2a", path=str(Path(sys.executable).parent))
    if program is None:
        raise SystemExit("the command metad2a is not installed beside this Python; run pip install first")
    commands = {
        "`import metad2a_plugin`": [sys.executable, "-c", "import metad2a_plugin"],
        "`metad2a --help`": [program, "--help"],
    }
    return {
        name: timed(lambda c=command: subprocess.run(c, check=True, capture_output=True), repeats)  # type: ignore[misc]
        for name, command in commands.items()
    }


# -- table ---------------------------------------------------------------------------------------
def spread(values: Sequence[float]) -> str:
    middle = f"{statistics.median(values):.3g} s"
    return middle if len(values) < 2 else f"{middle} ({min(values):.3g} to {max(values):.3g})"


def at_most(value: float, most: float, unit: str) -> str:
    return f"< {most:g} {unit} {'met' if value < most else 'missed'}"


def report(results: dict[str, Any]) -> str:
    loop = statistics.median(results["seconds"]["the paper's loop"])
    rows = []
    for name, values in results["seconds"].items():
        factor, ours = loop / statistics.median(values), name != "the paper's loop"
        aims = [common.aim([factor], AIMS["speed_up"], 0), at_most(statistics.median(values), AIMS["search"], "s")]
        rows.append([name, spread(values), f"{factor:,.0f} x", ", ".join(aims) if ours else ""])
    text = common.markdown(("search", "seconds", "faster than the loop", "aim"), rows)
    rows = [[name, f"{gb:.2f} GB", at_most(gb, AIMS["memory"], "GB")] for name, gb in results["memory"].items()]
    limits = (AIMS["import"], AIMS["help"])
    rows += [
        [name, spread(values), at_most(statistics.median(values), most, "s")]
        for (name, values), most in zip(results["start_up"].items(), limits, strict=True)
    ]
    return text + "\n" + common.markdown(("process", "measured", "aim"), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__, threads=2)
    parser.add_argument("--model", default="nasbench201", help="a shipped checkpoint, or a folder")
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--loop-repeats", type=int, default=3, help="of the paper's loop, which takes minutes")
    parser.add_argument("--starts", type=int, default=10)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    run(options)


def run(options: argparse.Namespace) -> None:
    data = common.Data(options.data)
    images = str(options.data / "images" / "cifar10_train.zip")
    memory = {
        name: peak_memory(statement.format(model=options.model, images=images), options.threads)
        for name, statement in MEMORY.items()
    }
    starts = start_up(options.starts)
    task = extract_task(data.images("cifar10"), max_images_per_class=IMAGES)
    searcher = MetaD2A.from_pretrained(options.model)
    results = {
        "settings": common.settings(options) | {"model": searcher.checkpoint.name, "load": os.getloadavg()[0]},
        "memory": memory,
        "start_up": starts,
        "seconds": seconds(searcher, task, options),
    }
    notes = NOTES.format(threads=options.threads, candidates=options.candidates, starts=options.starts)
    common.write(options.out, "speed", results, {"speed": report(results) + notes})


if __name__ == "__main__":
    main()
