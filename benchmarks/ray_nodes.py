"""The Ray Tune adapter on a local cluster of three nodes, of which one is killed: is a training lost or done twice?

    pip install '.[ray]'
    python benchmarks/ray_nodes.py

Networks train on made-up images with tiny settings, one on each node at a time. Once nothing happens; then, in the
middle of the search, the process of a trial, a whole node, or the process of the search is killed (SIGKILL). In the
last case the search is restored from its folder.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

EPOCHS, SIDE, NODES, STORE = 4, 8, 3, 80_000_000
PATIENCE = 1800.0
"""Seconds that a search may take."""
NOTES = """
{trials} trainings of {epochs} epochs that the strategy `random` asks for, on a local cluster of {nodes} nodes with one
CPU each; at the kill a third has ended. *Interrupted* are trainings that went on in another process, *to the end* those
that have reported their last epoch, *twice* those that have done so more than once, *lost* those that had ended before
the kill and are not in the result, with the same accuracy. *Epochs again* are those that were reported once more. Tune
writes its state down after a report, not with it: a training whose report came in the moment before the process of the
search was killed makes that epoch again, also its last one, at most one training a node.
"""


# -- the search, in a process of its own ---------------------------------------------------------
def search(options: argparse.Namespace) -> None:
    """Run or restore a search on the cluster."""
    import ray
    from metad2a_plugin.adapters.ray import StrategySearch, trainable
    from ray import tune

    from metad2a_plugin.training.config import TrainConfig

    # Else Tune starts one process after another, and the first to be there may do all.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(NODES)
    os.environ["TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S"] = "0"
    ray.init(address=options.address, log_to_driver=False)
    mine = ray.get_runtime_context().get_node_id()
    socket = next(node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == mine)
    (options.folder / "node").write_text(socket)
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 16)
    pixels = rng.integers(0, 200, (len(labels), SIDE, SIDE, 3)).astype(np.uint8)
    pixels[np.arange(len(labels)), :, :, labels] += 55
    config = TrainConfig(epochs=EPOCHS, input_size=SIDE, options={"channels": 4, "cells": 1}, device="cpu")
    train = trainable((pixels, labels), config)
    if options.action == "restore":
        tuner = tune.Tuner.restore(str(options.folder / "search"), train, resume_unfinished=True)
    else:
        tuner = tune.Tuner(
            train,
            tune_config=tune.TuneConfig(
                search_alg=StrategySearch("random"), num_samples=options.trials, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(options.folder),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=3),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            ),
        )
    made = tuner.fit()
    found = [
        {"id": result.metrics["trial_id"], "epoch": result.metrics["epoch"], "accuracy": result.metrics["accuracy"]}
        for result in made
        if result.error is None
    ]
    (options.folder / "found.json").write_text(json.dumps({"made": len(made), "found": found}))


# -- what the trials have reported ---------------------------------------------------------------
def reports(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All reports of each trial, as Tune has written them; of a line that is being written, nothing."""
    found: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(folder.glob("search/*/result.json")):
        for line in file.read_text().splitlines():
            try:
                report = json.loads(line)
            except ValueError:
                continue
            found.setdefault(report["trial_id"], []).append(report)
    return found


def ended(folder: Path) -> dict[str, float]:
    """Accuracy of each training that has reported its last epoch."""
    last = {trial: lines[-1] for trial, lines in reports(folder).items()}
    return {trial: line["accuracy"] for trial, line in last.items() if line["epoch"] == EPOCHS}


# -- one run -------------------------------------------------------------------------------------
def running(folder: Path) -> list[int]:
    """Processes of the trials that are under way, the last one to report first."""
    over = ended(folder)
    last = [lines[-1] for trial, lines in reports(folder).items() if trial not in over]
    return [line["pid"] for line in sorted(last, key=lambda line: -line["timestamp"])]


def node_of(pid: int, nodes: Sequence[Any]) -> Any:
    """The node on which a process of a trial runs, if it is one of these."""
    import psutil

    raylets = {node.all_processes["raylet"][0].process.pid: node for node in nodes}
    return raylets.get(psutil.Process(pid).ppid()) if psutil.pid_exists(pid) else None


def kill(kind: str, folder: Path, cluster: Any, nodes: Sequence[Any], process: subprocess.Popen[bytes]) -> bool:
    """Kill one thing, where a training is under way on it; whether there was one."""
    for pid in running(folder):
        if kind == "a node" and (node := node_of(pid, nodes)) is not None:
            cluster.remove_node(node, allow_graceful=False)
            return True
        if kind == "a trial":
            os.kill(pid, signal.SIGKILL)
            return True
        if kind == "the search":
            process.kill()
            return True
    return kind == "nothing"


def run(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """A search on a cluster of its own, with one kill."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": STORE}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as name, (Path(name) / "log").open("ab") as log:
        folder = Path(name)

        def start(action: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, __file__, "--action", action, "--address", cluster.address]
            command += ["--folder", name, "--trials", str(options.trials)]
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

        def check(process: subprocess.Popen[bytes], right: bool) -> None:
            if not right or time.perf_counter() - begin > PATIENCE:
                process.kill()
                said = (folder / "log").read_text()[-6000:]
                raise SystemExit(f"the search failed, or ended before something could be killed:\n{said}")

        try:
            nodes = [cluster.add_node(**node) for _ in range(NODES - 1)]
            process = start("run")
            while not (joined := (folder / "node").read_text() if (folder / "node").exists() else ""):
                check(process, process.poll() is None)
                time.sleep(0.2)
            # Some releases let a search join any node of this machine; with that one, it would be killed too.
            nodes = [each for each in nodes if each.raylet_socket_name != joined]
            while len(before := ended(folder)) < options.trials // 3 or not kill(kind, folder, cluster, nodes, process):
                check(process, process.poll() is None)
                time.sleep(0.2)
            if kind == "the search":
                process.wait()
                process = start("restore")
            while process.poll() is None:
                check(process, True)
                time.sleep(0.2)
            check(process, process.returncode == 0)
        finally:
            cluster.shutdown()
        return counted(folder, before) | {"seconds": time.perf_counter() - begin}


def counted(folder: Path, before: dict[str, float]) -> dict[str, int]:
    """The numbers of a row."""
    search = json.loads((folder / "found.json").read_text())
    after = {one["id"]: one["accuracy"] for one in search["found"] if one["epoch"] == EPOCHS}
    found = list(reports(folder).values())
    epochs = [[line["epoch"] for line in lines] for lines in found]
    return {
        "made": search["made"],
        "unfinished": search["made"] - len(after),
        "before": len(before),
        "interrupted": sum(len({line["pid"] for line in lines}) > 1 for lines in found),
        "whole": sum(EPOCHS in each for each in epochs),
        "twice": sum(each.count(EPOCHS) > 1 for each in epochs),
        "lost": sum(after.get(trial) != accuracy for trial, accuracy in before.items()),
        "again": sum(len(each) - len(set(each)) for each in epochs),
    }


KINDS = ("nothing", "a trial", "a node", "the search")
COLUMNS = ("before", "interrupted", "whole", "twice", "lost", "again")


def main(arguments: list[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS, help="what is killed")
    for name in ("--action", "--address", "--folder"):
        parser.add_argument(name, help=argparse.SUPPRESS, type=Path if name == "--folder" else str)
    options = parser.parse_args(arguments)
    if options.action:
        search(options)
        return
    code = common.code_digest("*ray*.py")
    runs: dict[str, dict[str, Any]] = {}
    for kind in options.kinds:
        kept = options.runs / "ray_nodes" / f"{kind}.json"
        runs[kind] = common.remember(kept, {"trials": options.trials, "code": code}, partial(run, kind, options))
        print(kind, runs[kind], flush=True)
    rows = [
        [kind, *(str(found[column]) for column in COLUMNS), f"{found['seconds']:.0f}"] for kind, found in runs.items()
    ]
    head = ("killed", "ended before", "interrupted", "to the end", "twice", "lost", "epochs again", "seconds")
    text = common.markdown(head, rows) + NOTES.format(trials=options.trials, epochs=EPOCHS, nodes=NODES)
    results = {"settings": common.settings(options), "runs": runs}
    common.write(options.out, "ray_nodes", results, {"ray_nodes": text})


if __name__ == "__main__":
    main()
