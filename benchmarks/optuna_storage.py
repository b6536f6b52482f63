"""The adapter of Optuna with several processes on one study: does it repeat or lose anything, and what does it cost?

    pip install '.[optuna]'
    python benchmarks/optuna_storage.py --data ../shared/data

Trials look the validation accuracy of CIFAR-10 up and last 5 to 30 milliseconds. One process works in memory; four
share a SQLite file, or a journal file. Finished runs stay under ``runs/optuna_storage``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import optuna
import torch
from metad2a_plugin.adapters.nas_bench_201 import NASBench201Table
from metad2a_plugin.adapters.optuna import StrategySampler, suggest_architecture
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages.journal import JournalFileBackend

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

TPE = "Optuna's TPE"
OPTIONS: dict[str, dict[str, Any]] = {"metad2a": {"model": "nasbench201-paper"}, "regularized-evolution": {}, TPE: {}}
SPACE = common.SPACE
KINDS = {"memory": 1, "sqlite": 4, "journal": 4}
"""Processes on each storage."""
TITLES = {"memory": "one process, in memory", "sqlite": "four, one SQLite file", "journal": "four, one journal file"}
NOTES = """
Runs of {trials} trials in all, with the seeds 0 to {last}. *Pending twice* are networks that were proposed while
another trial of the same network ran; *lost* are trials that a worker ended and that the study does not have with
that value. *Best*: validation accuracy of the incumbent, mean and standard deviation over seeds. *An ask*: processor
time of one proposal after a process's first, of the sampler and of its reads and writes of the storage. MetaD2A's
longest ones are those in which it learns its hyper-parameters anew. Optuna's own sampler, which reads a storage once
for a proposal and proposes what others evaluate, shows what the storage itself costs; ours read it once more, and write
to it, so that no two evaluate the same.
"""


def sampler_of(strategy: str, seed: int) -> BaseSampler:
    return TPESampler(seed=seed) if strategy == TPE else StrategySampler(strategy, seed=seed, **OPTIONS[strategy])


def timed(sampler: BaseSampler) -> dict[int, float]:
    """Seconds of the processor that a sampler will take for a trial, by its number."""
    seconds: dict[int, float] = {}

    def time_of(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(study: optuna.Study, trial: optuna.trial.FrozenTrial, *rest: Any) -> Any:
            begin = time.thread_time()
            found = method(study, trial, *rest)
            seconds[trial.number] = seconds.get(trial.number, 0.0) + time.thread_time() - begin
            return found

        return call

    for name in ("infer_relative_search_space", "sample_relative", "sample_independent"):
        setattr(sampler, name, time_of(getattr(sampler, name)))
    return seconds


def storage_of(kind: str, folder: str) -> Any:
    if kind == "memory":
        return None
    if kind == "sqlite":
        arguments = {"connect_args": {"timeout": 120}}
        return optuna.storages.RDBStorage(f"sqlite:///{folder}/study.db", engine_kwargs=arguments)
    backend = JournalFileBackend(f"{folder}/study.log")
    return optuna.storages.JournalStorage(backend)


def work(
    study: optuna.Study, sampler: BaseSampler, table: NASBench201Table, trials: int, seed: int
) -> dict[str, list[list[float]]]:
    """Evaluate so many trials: of each, its number and when it was pending; and the seconds of each ask."""
    rng, ended, seconds = random.Random(seed), [], timed(sampler)

    def objective(trial: optuna.Trial) -> float:
        architecture = suggest_architecture(trial, SPACE)
        begin = time.time()
        time.sleep(rng.uniform(0.005, 0.03))
        value = float(table.accuracy(architecture, split="valid"))
        ended.append([trial.number, begin, time.time(), value])
        return value

    study.sampler = sampler
    study.optimize(objective, n_trials=trials)
    return {"ended": ended, "seconds": [list(seconds.values())[1:]]}


def worker(
    kind: str, folder: str, sampler: BaseSampler, table: NASBench201Table, trials: int, seed: int, answer: Any
) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name="study", storage=storage_of(kind, folder))
    answer.put(work(study, sampler, table, trials, seed))


def run(strategy: str, kind: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    table = NASBench201Table.load(options.data)
    sampler = sampler_of(strategy, seed)
    with tempfile.TemporaryDirectory() as folder:
        study = optuna.create_study(study_name="study", direction="maximize", storage=storage_of(kind, folder))
        if kind == "memory":
            answers = [work(study, sampler, table, options.trials, seed)]
        else:
            context = multiprocessing.get_context("fork")  # one ranking serves all
            queue = context.Queue()
            share = options.trials // KINDS[kind]
            started = [
                context.Process(target=worker, args=(kind, folder, own, table, share, 10 * seed + i, queue))
                for i in range(KINDS[kind])
                for own in [sampler_of(TPE, 10 * seed + i) if strategy == TPE else sampler]
            ]
            for process in started:
                process.start()
            answers = [queue.get() for _ in started]
            for process in started:
                process.join()
        trials = study.get_trials()
    networks = {t.number: SPACE.canonical(suggest_architecture(t, SPACE)) for t in trials}
    ended = sorted(row for answer in answers for row in answer["ended"])
    values = {t.number: t.value for t in trials}
    return {
        "trials": len(trials),
        "twice": sum(
            networks[int(a[0])] == networks[int(b[0])] and a[1] < b[2] and b[1] < a[2]
            for place, a in enumerate(ended)
            for b in ended[:place]
        ),
        "lost": sum(values.get(int(number)) != value for number, _, _, value in ended),
        "best": max(t.value for t in trials if t.value is not None),
        "ms": [1000 * s for answer in answers for s in answer["seconds"][0]],
    }


def main(arguments: list[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    code = common.code_digest("_optuna*.py")
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    rows = []
    for strategy in OPTIONS:
        for kind in KINDS:
            for seed in range(options.seeds):
                kept = options.runs / "optuna_storage" / strategy / kind / f"{seed}.json"
                key = {"trials": options.trials, "code": code}
                found = common.remember(kept, key, partial(run, strategy, kind, seed, options))
                runs.setdefault(strategy, {}).setdefault(kind, []).append(found)
                print(f"{strategy}, {kind}, {seed} done", flush=True)
            here = runs[strategy][kind]
            ms = sorted(value for one in here for value in one.pop("ms"))
            sums = (str(sum(one[name] for one in here)) for name in ("trials", "twice", "lost"))
            ask = f"{statistics.median(ms):.1f} ({ms[int(0.95 * len(ms))]:.1f}, {ms[-1]:.1f})"
            rows.append([strategy, TITLES[kind], *sums, common.mean_std([one["best"] for one in here], 2), ask])
    header = ("strategy", "processes", "trials", "pending twice", "lost", "best, %", "an ask, ms: median (95%, most)")
    text = common.markdown(header, rows) + NOTES.format(trials=options.trials, last=options.seeds - 1)
    results = {"settings": common.settings(options), "runs": runs}
    common.write(options.out, "optuna_storage", results, {"optuna_storage": text})


if __name__ == "__main__":
    main()
