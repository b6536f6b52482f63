"""Long commands that are killed at random moments and run again: is anything lost, repeated, different or left behind?

    python benchmarks/kills.py --kills 200

Every command runs on made-up images with tiny settings, once without being disturbed and then killed again and again,
by SIGKILL, SIGTERM and SIGINT. Each runs in a fork of this process, which has imported everything already.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

import metad2a_plugin.contest.run
import metad2a_plugin.meta.paper
import metad2a_plugin.meta.train
import metad2a_plugin.models.ensemble
import metad2a_plugin.one_shot.darts
import metad2a_plugin.similarity.build
from metad2a_plugin.cli.main import main as command
from metad2a_plugin.meta.fit import FitConfig
from metad2a_plugin.spaces.nasbench201.space import NASBench201

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
IN_A_ROW = 5
"""Kills before a command is left to end."""
PATIENCE = 30.0
"""Seconds that processes of a killed one have to end: those that start load torch before they can look."""
TINY = ["--channels", "4", "--cells", "1", "--input-size", "8", "--device", "cpu"]
CELLS = (
    "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|",
    "|nor_conv_1x1~0|+|nor_conv_3x3~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|",
)
TIMED = ("seconds", "elapsed")
NOTES = """
Each command is killed up to {in_a_row} times in a row, at random moments, and then left to end. *Lost* and *repeated*
compare finished parts (epochs, rows, queries, networks, with the seconds they took) before and after: gone, or there
with other numbers. *Different* are folders whose results, but for the seconds, are not those of the run that nobody
killed; `auto` does what the time allows, so its networks are not compared. *Partial files* are those left after the
next run, *orphans* processes that were alive {patience:g} seconds after the one that started them was killed.
"""


@dataclass(frozen=True)
class Command:
    """A long command.

    Attributes:
        name: what it is called in the table.
        arguments: of the command; what it writes lies in the working folder.
        same: whether undisturbed runs give the same result.
    """

    name: str
    arguments: tuple[str, ...]
    same: bool = True


def commands(inputs: Path) -> list[Command]:
    images, folder = str(inputs / "images.npz"), str(inputs / "images")
    given = [part for cell in CELLS for part in ("-a", cell)]
    subnets = [
        *("--images", folder, "--classes", "2", "--rows-per-task", "2", "--test-images", "3", "--device", "cpu"),
        *("--calibration-images", "4", "--width", "0.15", "--input-size", "32", "--epochs", "3"),
        *("--teacher", "none", "--tasks", "12", "--valid-tasks", "2"),
    ]
    search = ("train", images, "--queries", "8", *TINY, "--out", "runs", "--json", "train.json")
    return [
        Command("train", ("train", images, *given, "--epochs", "6", *TINY, "--out", "runs", "--json", "train.json")),
        Command("train --strategy", (*search, "--strategy", "regularized-evolution", "--epochs", "2")),
        Command("train --shared-weights", (*search, "--strategy", "mdenas", "--shared-weights", "--epochs", "2")),
        Command("train --strategy darts", (*search[:2], *search[4:], "--queries", "1", "--strategy", "darts",
            "--epochs", "2", "--option", "epochs=4")),
        Command("train-supernet", ("train-supernet", images, "supernet.safetensors", "--epochs", "8", *TINY)),
        Command("build-database", ("build-database", "database", *subnets)),
        Command("build-database --workers 2", ("build-database", "database", *subnets, "--workers", "2")),
        Command("build-database --space nasbench201", ("build-database", "database", "--space", "nasbench201",
            "--images", images, "--trainings", "10", "--shortest", "0.05", "--longest", "0.2", "--device", "cpu")),
        Command("build-tasks", ("build-tasks", "tasks", "--dataset", f"one={images}", "--dataset", f"two={folder}",
            "--count", "4", "--epochs", "1")),
        Command("meta-train", ("meta-train", "model", "--space", "mobilenetv3", "--no-generator", "--images", folder,
            "--database", str(inputs / "database"))),
        Command("convert-benchmark", ("convert-benchmark", str(inputs / "benchmark.pickle"), "out.npz", "--curves")),
        Command("analyze", ("analyze", CELLS[0], "--dataset", images, "--references", "1", "--epochs", "3",
            "--channels", "4", "--input-size", "8", "--json", "analysis.json", "--device", "cpu")),
        Command("auto", ("auto", images, "--time", "20s", "--out", "auto", "--encoder", "default", "--device", "cpu"),
            same=False),
    ]  # fmt: skip


# -- inputs --------------------------------------------------------------------------------------
def make_inputs(folder: Path) -> None:
    """Images of a few colours, an array and a folder of them, and a benchmark file of some cells."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    pixels = rng.integers(0, 120, (60, 16, 16, 3)) + 60 * labels[:, None, None, None]
    np.savez(folder / "images.npz", images=pixels.astype(np.uint8), labels=labels)
    for label, colour in enumerate(rng.integers(40, 216, (8, 1, 1, 3))):
        (folder / "images" / f"n{label}").mkdir(parents=True)
        for i in range(9):
            noise = colour + rng.integers(-40, 40, (32, 32, 3))
            Image.fromarray(noise.astype(np.uint8)).save(folder / "images" / f"n{label}" / f"{i}.png")
    space = NASBench201()
    cells = list(islice(space.enumerate(), 400))
    infos = {number: {"full": _schedule(space.format(cell), number)} for number, cell in enumerate(cells)}
    (folder / "benchmark.pickle").write_bytes(pickle.dumps({"arch2infos": infos}, 2))


def _schedule(text: str, cell: int) -> dict[str, Any]:
    curve = {epoch: (cell + epoch) % 100 + 0.5 for epoch in range(200)}
    fields = {
        "train_acc1es": curve,
        "train_times": curve,
        "eval_acc1es": {f"{images}@{epoch}": v for images in ("x-valid", "ori-test") for epoch, v in curve.items()},
        "params": 0.1,
        "flop": 10.0,
        "epochs": 200,
    }
    return {"arch_str": text, "all_results": {("cifar10-valid", 777): fields, ("cifar100", 888): fields}}


# -- what a folder holds -------------------------------------------------------------------------
def finished_parts(folder: Path) -> dict[str, str]:
    """Every part that is done and kept, with the seconds it took, under a name."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        where = str(path.parent.relative_to(folder))
        if path.suffix == ".pt":
            history = torch.load(path, weights_only=True)["history"]
        elif path.name in ("result.json", "search.json"):
            history = json.loads(path.read_bytes())["history"]
        elif path.name == "auto.json":
            history = json.loads(path.read_bytes())["trained"]
        elif path.name.startswith("rows") and path.suffix == ".csv":
            whole = path.read_text().rpartition("\n")[0]
            history = []
            found |= {f"{where} row {line.split(',')[0]}": line for line in whole.splitlines()[1:]}
        elif path.suffix == ".safetensors" and (where.endswith("networks") or "ensemble-" in where):
            history = [hashlib.sha256(path.read_bytes()).hexdigest()]
            where = str(path.relative_to(folder))
        else:
            continue
        kind = "query" if path.name == "search.json" else "part"
        found |= {f"{where} {kind} {number}": json.dumps(part) for number, part in enumerate(history)}
    return found


def results(folder: Path) -> dict[str, str]:
    """A digest of each file that a command has written for good, but for the seconds in it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".json":
            content: Any = json.dumps(_untimed(json.loads(path.read_bytes())), sort_keys=True).encode()
        elif path.suffix == ".csv":
            content = "\n".join(sorted(_untimed_lines(path))).encode()
        elif path.suffix in (".safetensors", ".npz"):
            content = path.read_bytes()
        else:
            continue
        found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _untimed(item) for name, item in value.items() if name not in TIMED}
    return [_untimed(item) for item in value] if isinstance(value, list) else value


def _untimed_lines(path: Path) -> Iterator[str]:
    with path.open(newline="") as file:
        if path.name == "fits.csv":  # a log: name, objective, seconds
            yield from (line.rpartition(",")[0] for line in file)
            return
        for line in csv.DictReader(file):
            yield ",".join(f"{name}={value}" for name, value in line.items() if "seconds" not in name)


# -- running and killing -------------------------------------------------------------------------
def start(arguments: Sequence[str], folder: Path, log: Path) -> int:
    """The number of a process of its own session that runs a command in a folder."""
    child = os.fork()
    if child:
        return child
    status = 99
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if arguments[0] == "auto":  # of a busy machine's seconds too little would be left for a training
            time.monotonic = time.perf_counter = time.process_time
        os.chdir(folder)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        status = command(list(arguments))
    finally:
        sys.stdout.flush()
        os._exit(status)


def ended(process: int, within: float) -> int | None:
    """Its status, negative for a signal, once it has ended; None where it has not within so many seconds."""
    until = time.monotonic() + within
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            return None
        time.sleep(0.002)


def alive(session: int) -> list[int]:
    """Processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


def orphans(session: int) -> int:
    """How many processes of a killed one do not end."""
    until = time.monotonic() + PATIENCE
    while (left := alive(session)) and time.monotonic() < until:
        time.sleep(0.05)
    for process in left:
        os.kill(process, signal.SIGKILL)
    return len(left)


@dataclass
class Counts:
    """What came of the kills of a command."""

    seconds: float = 0.0
    kills: int = 0
    runs: int = 0
    lost: int = 0
    repeated: int = 0
    different: int = 0
    partial: int = 0
    orphans: int = 0
    failed: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def bad(self) -> int:
        return self.lost + self.repeated + self.different + self.partial + self.orphans + self.failed


def disturbed(one: Command, kills: int, scratch: Path, rng: random.Random) -> Counts:
    """Kill a command so many times, and count what is wrong."""
    counts, log = Counts(), scratch / "log.txt"
    whole = scratch / "whole"
    whole.mkdir(parents=True)
    begin = time.monotonic()
    if (status := ended(start(one.arguments, whole, log), 3600)) != 0:
        raise SystemExit(f"{one.name} ended with {status}:\n{log.read_text()[-2000:]}")
    counts.seconds = time.monotonic() - begin
    expected, number = results(whole), 0
    while counts.kills < kills:
        number += 1
        folder = scratch / f"killed-{number}"
        folder.mkdir()
        _one_folder(one, folder, log, kills, counts, rng)
        counts.runs += 1
        if one.same and (found := results(folder)) != expected:
            names = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
            counts.different += 1
            counts.faults.append(f"{one.name}, {folder.name}: different {names[:5]}")
        counts.partial += len(list(folder.rglob(".partial-*")))
        if not counts.bad:
            shutil.rmtree(folder)
    return counts


def _one_folder(one: Command, folder: Path, log: Path, kills: int, counts: Counts, rng: random.Random) -> None:
    known: dict[str, str] = {}
    for _ in range(IN_A_ROW):
        if counts.kills >= kills:
            break
        how = SIGNALS[counts.kills % len(SIGNALS)]
        process = start(one.arguments, folder, log)
        status = ended(process, rng.uniform(0, counts.seconds / 2))
        if status is not None:
            _check_end(one, status, counts)
            return
        os.kill(process, how)
        if (status := ended(process, 60)) is None:
            os.kill(process, signal.SIGKILL)
            ended(process, 60)
            counts.failed += 1
            counts.faults.append(f"{one.name}: alive a minute after {how.name}")
        elif status == 0:  # it was done
            return
        counts.kills += 1
        counts.orphans += orphans(process)
        known = _compared(one, known, finished_parts(folder), counts)
    _check_end(one, ended(start(one.arguments, folder, log), 3600), counts)
    _compared(one, known, finished_parts(folder), counts)


def _check_end(one: Command, status: int | None, counts: Counts) -> None:
    if status != 0:
        counts.failed += 1
        counts.faults.append(f"{one.name} ended with {status}")


def _compared(one: Command, before: dict[str, str], after: dict[str, str], counts: Counts) -> dict[str, str]:
    """Count the parts that are gone or done again. A folder that is finished needs its state no more."""
    folders = {name.split()[0] for name in after}
    gone = [name for name in before if name not in after and name.split()[0] in folders]
    again = [name for name, part in before.items() if after.get(name, part) != part]
    counts.lost += len(gone)
    counts.repeated += len(again)
    counts.faults += [f"{one.name}: lost {name}" for name in gone] + [f"{one.name}: again {name}" for name in again]
    return after


# -- the measurement -----------------------------------------------------------------------------
def report(found: dict[str, dict[str, Any]]) -> str:
    columns = ("lost", "repeated", "different", "partial", "orphans", "failed")
    rows = [[name, f"{one['seconds']:.1f}", one["kills"], *(one[c] for c in columns)] for name, one in found.items()]
    rows.append(["all", "", *(sum(one[c] for one in found.values()) for c in ("kills", *columns))])
    header = ("command", "seconds", "kills", "lost", "repeated", "different", "partial files", "orphans", "failed")
    return common.markdown(header, [list(map(str, row)) for row in rows]) + NOTES.format(
        in_a_row=IN_A_ROW, patience=PATIENCE
    )


def quick_recipes() -> None:
    """A moment's work in each fit of ``meta-train``, whose number no option sets."""
    small = partial(FitConfig, members=2, folds=2, fold_members=1, iterations=4, factors=4)
    vars(metad2a_plugin.meta.train)["FitConfig"] = small


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of all commands together")
    parser.add_argument("--only", help="commands whose name begins so")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    quick_recipes()
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        inputs = Path(scratch) / "inputs"
        inputs.mkdir()
        os.environ["METAD2A_CACHE"] = str(Path(scratch) / "cache")
        make_inputs(inputs)
        chosen = [one for one in commands(inputs) if one.name.startswith(options.only or "")]
        _database_for(chosen, inputs)
        for number, one in enumerate(chosen):
            kills = options.kills * (number + 1) // len(chosen) - options.kills * number // len(chosen)
            counts = disturbed(one, kills, Path(scratch) / f"{number}", random.Random(f"{options.seed} {one.name}"))
            print(f"{one.name}: {counts.kills} kills, {counts.bad} faults", *counts.faults, sep="\n  ", file=sys.stderr)
            found[one.name] = {k: v for k, v in dataclasses.asdict(counts).items() if k != "faults"}
            settings = common.settings(options)
            common.write(options.out, "kills", {"settings": settings, "commands": found}, {"kills": report(found)})


def _database_for(chosen: Sequence[Command], inputs: Path) -> None:
    """The database that ``meta-train`` learns from."""
    if any(one.name == "meta-train" for one in chosen):
        [build] = (one for one in commands(inputs) if one.name == "build-database")
        if (status := ended(start(build.arguments, inputs, inputs / "log.txt"), 3600)) != 0:
            raise SystemExit(f"build-database ended with {status}:\n{(inputs / 'log.txt').read_text()[-2000:]}")


if __name__ == "__main__":
    main()
