"""The NNI adapter on NNI's own engines: are samples and metrics paired rightly, and what does a strategy cost?

    pip install '.[nni]'
    python benchmarks/nni_trials.py --data ../shared/data

On the training service, with two trials at a time: whole runs, and runs of which NNI's manager, the process of the
strategy, or both are killed three times and that are resumed each time. Each runs in a process of its own, on one free
port; finished ones stay under ``runs/nni_trials``.
"""

from __future__ import annotations

import argparse
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
wrongly. *Manager killed*: it was killed (SIGKILL) after {kills} metrics, and the experiment resumed each time, on
the same port; *process killed*: so was the process of the strategy alone; *both killed*: both. *Lost* are metrics that
were there before a resumption and are not after it, *repeated* all metrics less the different architectures that they
are of.
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
    """Run or resume an experiment, kill what is to be killed, and print what came of it."""
    from metad2a_plugin.adapters.nas_bench_201 import NASBench201Table
    from metad2a_plugin.adapters.nni import SearchStrategy, architecture_of

    strategy = SearchStrategy(NAME, seed=options.seed, **OPTIONS)
    found = experiment("ts", strategy, options, f"seed{options.seed}")

    def say(**more: Any) -> None:
        print("RESULT", json.dumps({"measured": [list(a.choices) for a, _ in strategy.measured], **more}), flush=True)

    def kill() -> None:
        while len(strategy.measured) < options.until:
            time.sleep(0.05)
        if options.kill != "process":
            os.kill(found._proc.pid, signal.SIGKILL)
        if options.kill != "manager":
            say()
            os.kill(os.getpid(), signal.SIGKILL)

    if options.kill:
        threading.Thread(target=kill, daemon=True).start()
    try:
        (found.resume if options.action == "resume" else found.run)(options.port)
    except RuntimeError:
        if options.kill != "manager":
            raise
    if options.kill:
        say()
    else:
        table = NASBench201Table.load(options.data)
        models = list(strategy.list_models(sort=False))
        jobs = [job for job in found.list_trial_jobs() if job.finalMetricData]
        finals = Counter(m.parameterId for ms in found.get_job_metrics().values() for m in ms if m.type == "FINAL")
        say(
            models=len(models),
            wrong=sum(m.metric != table.accuracy(architecture_of(m.sample), split="valid") for m in models),
            swapped=sum(
                int(job.finalMetricData[0].parameterId) != job.hyperParameters[0].parameter_id for job in jobs
            ),
            repeated=sum(finals.values()) - len(set(strategy.measured)),
            best=found.export_top_models(1)[0].metric,
        )
    found.stop()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port: int = free.getsockname()[1]
        return port


def run_service(
    action: str, seed: int, folder: str, port: int, options: argparse.Namespace, *more: str
) -> dict[str, Any]:
    command = [sys.executable, __file__, "--action", action, "--seed", str(seed), "--port", str(port), *more]
    command += ["--folder", folder, "--data", str(options.data.resolve()), "--trials", str(options.trials)]
    with tempfile.TemporaryFile("w+") as output:  # no pipes: what outlives a killed process would hold them open
        subprocess.run(command, check=False, stdout=output, stderr=output, stdin=subprocess.DEVNULL, timeout=900)
        output.seek(0)
        said = output.read()
    lines = [line for line in said.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(f"the experiment failed:\n{said[-6000:]}")
    found: dict[str, Any] = json.loads(lines[-1].removeprefix("RESULT "))
    return found


def whole(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return run_service("run", seed, folder, free_port(), options) | {"lost": 0}


def moments(options: argparse.Namespace) -> list[int]:
    """Metrics after which there is a kill."""
    return [options.trials * part // (options.kills + 1) for part in range(1, options.kills + 1)]


def resumed(kill: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Killed and resumed so many times, on the same port."""
    before: list[list[Any]] = []
    lost, port = 0, free_port()
    with tempfile.TemporaryDirectory() as folder:
        for until in [*moments(options), None]:
            more = () if until is None else ("--kill", kill, "--until", str(until))
            found = run_service("resume" if before else "run", seed, folder, port, options, *more)
            lost += (Counter(map(tuple, before)) - Counter(map(tuple, found["measured"]))).total()
            before = found["measured"]
    return {**found, "lost": lost}


KINDS: dict[str, Callable[[int, argparse.Namespace], dict[str, Any]]] = {
    "whole": whole,
    **{f"{kill} killed": partial(resumed, kill) for kill in ("manager", "process", "both")},
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
    parser.add_argument("--kills", type=int, default=3, help="of each run that is killed")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each kind")
    parser.add_argument("--overhead", type=int, default=100, help="trials of each strategy whose cost is told")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS), help="kinds of runs")
    for name in ("--action", "--folder", "--kill", "--seed", "--port", "--until"):
        parser.add_argument(name, help=argparse.SUPPRESS, type=int if name in ("--seed", "--port", "--until") else str)
    options = parser.parse_args(arguments)
    if options.action:
        service(options)
        return
    code = common.code_digest("*nni*.py")
    killed = {"trials": options.trials, "kills": options.kills}
    runs: dict[str, list[dict[str, Any]]] = {}
    for kind in options.kinds:
        run = KINDS[kind]
        for seed in range(options.repeats):
            kept = options.runs / "nni_trials" / kind / f"{seed}.json"
            found = common.remember(kept, {**killed, "code": code}, partial(run, seed, options))
            runs.setdefault(kind, []).append(found)
            print(f"{kind} {seed} done", flush=True)
    after = ", ".join(map(str, moments(options)))
    options.trials, trials = options.overhead, options.trials
    costs = overhead(options)
    rows = [[kind, *(str(run[column]) for column in COLUMNS)] for kind in runs for run in runs[kind]]
    text = common.markdown(("run", "trials", "wrong pairs", "jobs that ran another's", "lost", "repeated"), rows)
    text += NOTES.format(trials=trials, kills=after)
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
