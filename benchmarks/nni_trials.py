"""The NNI adapter on NNI's own engines: are samples and metrics paired rightly, and what does a strategy cost?

    pip install '.[nni]'
    python benchmarks/nni_trials.py --data ../shared/data

On the training service, with two trials at a time: whole runs, and runs whose manager is killed in the middle and that
are resumed. Each runs in a process of its own, on a free port; finished ones stay under ``runs/nni_trials``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

NAME = "regularized-evolution"
OPTIONS = {"population_size": 24, "sample_size": 4}
"""The first trials are random draws of 15,625 cells: one that comes twice has been repeated."""
OURS = ("metad2a", "regularized-evolution", "local-search", "random")
NOTES = """
{trials} trials of regularized evolution (its random draws), two at a time, which only look accuracies up: none are
faster, so most can go wrong. *Wrong pairs* are models whose metric is not the accuracy of their own architecture. *Jobs
that ran another's* got the parameters of another job from NNI's manager, whose own list of models then pairs them
wrongly. *Manager killed*: it was killed (SIGKILL) after {half} metrics and the experiment resumed; *both killed*: so
was the process of the strategy. *Lost* are metrics that were there before and are not after the resumption, *repeated*
all metrics less the different architectures that they are of.
"""
OVERHEAD = """
Of {trials} trials on the sequential engine with a table evaluator, all that `NasExperiment.run` does; median (least to
most) of {repeats} runs. MetaD2A's construction holds its one ranking of all cells.
"""


# -- one experiment, in a process of its own -----------------------------------------------------
def experiment(engine: str, strategy: Any, options: argparse.Namespace, id: str | None = None) -> Any:  # noqa: A002
    from metad2a_plugin.adapters.nni import TableEvaluator
    from nni.nas.experiment import NasExperiment, NasExperimentConfig
    from nni.nas.hub.pytorch import NasBench201

    config = NasExperimentConfig(engine, "simplified", "local")
    config.max_trial_number = options.trials
    config.experiment_working_directory = options.folder
    if engine == "ts":
        config.trial_concurrency = 2
    return NasExperiment(NasBench201(), TableEvaluator(table=options.data), strategy, config, id=id)


def service(options: argparse.Namespace) -> None:
    """Run, kill or resume an experiment, and print what came of it."""
    from metad2a_plugin.adapters.nas_bench_201 import NASBench201Table
    from metad2a_plugin.adapters.nni import SearchStrategy, architecture_of

    strategy = SearchStrategy(NAME, seed=options.seed, **OPTIONS)
    found = experiment("ts", strategy, options, f"seed{options.seed}")

    def kill() -> None:
        while len(strategy.measured) < options.trials // 2:
            time.sleep(0.1)
        os.kill(found._proc.pid, signal.SIGKILL)

    if options.action.startswith("kill"):
        threading.Thread(target=kill, daemon=True).start()
    try:
        (found.resume if options.action == "resume" else found.run)(options.port)
    except RuntimeError:
        if not options.action.startswith("kill"):
            raise
    result: dict[str, Any] = {"measured": [list(a.choices) for a, _ in strategy.measured]}
    if not options.action.startswith("kill"):
        table = NASBench201Table.load(options.data)
        models = list(strategy.list_models(sort=False))
        jobs = [job for job in found.list_trial_jobs() if job.finalMetricData]
        finals = Counter(m.parameterId for ms in found.get_job_metrics().values() for m in ms if m.type == "FINAL")
        result |= {
            "models": len(models),
            "wrong": sum(m.metric != table.accuracy(architecture_of(m.sample), split="valid") for m in models),
            "swapped": sum(
                int(job.finalMetricData[0].parameterId) != job.hyperParameters[0].parameter_id for job in jobs
            ),
            "repeated": sum(finals.values()) - len(set(strategy.measured)),
            "best": found.export_top_models(1)[0].metric,
        }
    print("RESULT", json.dumps(result), flush=True)
    if options.action == "kill-both":
        os.kill(os.getpid(), signal.SIGKILL)
    found.stop()


def run_service(action: str, seed: int, folder: str, options: argparse.Namespace) -> dict[str, Any]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--action", action, "--seed", str(seed), "--port", str(port)]
    command += ["--folder", folder, "--data", str(options.data.resolve()), "--trials", str(options.trials)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(f"the experiment failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(lines[-1].removeprefix("RESULT "))
    return found


def whole(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return run_service("run", seed, folder, options) | {"lost": 0}


def resumed(kill: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        before = run_service(kill, seed, folder, options)["measured"]
        found = run_service("resume", seed, folder, options)
    lost = Counter(map(tuple, before)) - Counter(map(tuple, found["measured"]))
    return {**found, "before": len(before), "lost": lost.total()}


KINDS: dict[str, Callable[[int, argparse.Namespace], dict[str, Any]]] = {
    "whole": whole,
    "manager killed": partial(resumed, "kill"),
    "both killed": partial(resumed, "kill-both"),
}


# -- overhead ------------------------------------------------------------------------------------
def overhead(options: argparse.Namespace) -> dict[str, list[list[float]]]:
    """Of each strategy and repeat: milliseconds a trial, and seconds to construct it."""
    import nni.nas.strategy as theirs
    from metad2a_plugin.adapters.nni import MetaD2AStrategy, SearchStrategy

    logging.disable(logging.WARNING)
    makers: dict[str, Any] = {f"NNI's {k.__name__}": k for k in (theirs.Random, theirs.RegularizedEvolution)}
    makers |= {name: partial(SearchStrategy, name) for name in OURS if name != "metad2a"}
    makers["metad2a"] = partial(MetaD2AStrategy, None, model="nasbench201-paper")
    found: dict[str, list[list[float]]] = {}
    for name, make in makers.items():
        for seed in range(options.repeats):
            begin = time.perf_counter()
            strategy = make(seed=seed)
            made = time.perf_counter() - begin
            with tempfile.TemporaryDirectory() as options.folder:
                one = experiment("sequential", strategy, options)
                begin = time.perf_counter()
                one.run()
                seconds = time.perf_counter() - begin
                one.stop()
            found.setdefault(name, []).append([1000 * seconds / options.trials, made])
    return found


# -- tables --------------------------------------------------------------------------------------
def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main(arguments: list[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each kind")
    for name in ("--action", "--folder", "--seed", "--port"):
        parser.add_argument(name, help=argparse.SUPPRESS, type=int if name in ("--seed", "--port") else str)
    options = parser.parse_args(arguments)
    if options.action:
        service(options)
        return
    adapters = Path(__file__).parents[1] / "adapters"
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(adapters.glob("*nni*.py")))).hexdigest()[:16]
    runs: dict[str, list[dict[str, Any]]] = {}
    for kind, run in KINDS.items():
        for seed in range(options.repeats):
            kept = options.runs / "nni_trials" / kind / f"{seed}.json"
            found = common.remember(kept, {"trials": options.trials, "code": code}, partial(run, seed, options))
            runs.setdefault(kind, []).append(found)
            print(f"{kind} {seed} done", flush=True)
    options.trials, trials = 100, options.trials
    costs = overhead(options)
    rows = [[kind, *(str(run[column]) for column in COLUMNS)] for kind in runs for run in runs[kind]]
    text = common.markdown(("run", "trials", "wrong pairs", "jobs that ran another's", "lost", "repeated"), rows)
    text += NOTES.format(trials=trials, half=trials // 2)
    rows = [
        [name, spread([ms for ms, _ in c]), "" if name.startswith("NNI") else spread([s for _, s in c]) + " s"]
        for name, c in costs.items()
    ]
    text += "\n" + common.markdown(("strategy", "ms a trial", "construction"), rows)
    text += OVERHEAD.format(trials=options.trials, repeats=options.repeats)
    results = {"settings": common.settings(options), "runs": runs, "overhead": costs}
    common.write(options.out, "nni_trials", results, {"nni_trials": text})


COLUMNS = ("models", "wrong", "swapped", "lost", "repeated")

if __name__ == "__main__":
    main()
