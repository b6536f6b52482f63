"""NNI's training service, for real: a node manager and a process for each trial. Minutes, so marked `service`."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(importlib.util.find_spec("nni") is None, reason="NNI is not installed; see the extra 'nni'"),
]
TROUBLE = '''
import random, time
import nni
from metad2a_plugin.adapters.nni import SearchStrategy, architecture_of
from nni.nas.evaluator import FunctionalEvaluator
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from nni.nas.hub.pytorch import NasBench201


def evaluate(model):
    sample = nni.get_current_parameter().sample
    convolutions = list(sample.values()).count("conv_3x3")
    if convolutions == 0:
        raise ArithmeticError("no convolution")
    nni.report_final_result({1: float("nan"), 2: "high"}.get(convolutions, float(convolutions)))


if __name__ == "__main__":
    config = NasExperimentConfig("ts", "simplified", "local")
    config.max_trial_number, config.trial_concurrency = 8, 2
    config.experiment_working_directory = "experiments"
    strategy = SearchStrategy("random", seed=3)
    experiment = NasExperiment(NasBench201(num_modules_per_stack=1), FunctionalEvaluator(evaluate), strategy, config)
    experiment.run(PORT)
    count = lambda sample: list(sample.values()).count("conv_3x3")
    models = list(strategy.list_models(sort=False))
    assert len(models) == 8, models
    for model in models:
        convolutions = count(model.sample)
        assert model.metric == (convolutions if convolutions > 2 else None), (convolutions, model.metric)
        assert model.status.value == ("trained" if convolutions > 2 else "failed"), (convolutions, model.status)
    print("COUNTS", sorted(count(model.sample) for model in models))
    experiment.stop()
'''


FAILING = '''
from metad2a_plugin.adapters.nni import SearchStrategy
from metad2a_plugin.strategies import RandomSearch
from nni.nas.evaluator import FunctionalEvaluator
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from nni.nas.hub.pytorch import NasBench201
import nni


def evaluate(model):
    nni.report_final_result(1.0)


def tell(self, architecture, value):
    raise ArithmeticError("told too much")


if __name__ == "__main__":
    RandomSearch._tell = tell
    config = NasExperimentConfig("ts", "simplified", "local")
    config.max_trial_number, config.trial_concurrency = 50, 2
    config.experiment_working_directory = "experiments"
    space = NasBench201(num_modules_per_stack=1)
    NasExperiment(space, FunctionalEvaluator(evaluate), SearchStrategy("random"), config).run(PORT)
'''


MOBILENETV3 = """
from metad2a_plugin import get_predictor, get_space
from metad2a_plugin.adapters.nni import PredictorEvaluator, SearchStrategy, architecture_of, ofa_space
from nni.nas.experiment import NasExperiment, NasExperimentConfig

if __name__ == "__main__":
    config = NasExperimentConfig("ts", "simplified", "local")
    config.max_trial_number, config.trial_concurrency = 6, 2
    config.experiment_working_directory = "experiments"
    evaluator = PredictorEvaluator("ofa-imagenet", resolution=160)
    strategy = SearchStrategy("regularized-evolution", seed=3, population_size=3, sample_size=2)
    experiment = NasExperiment(ofa_space(1.2, num_classes=10), evaluator, strategy, config)
    experiment.run(PORT)
    predictor = get_predictor("ofa-imagenet")(get_space("mobilenetv3"), resolution=160)
    models = list(strategy.list_models(sort=False))
    networks = [architecture_of(model.sample) for model in models]
    predicted = predictor.predict(None, networks).mean.tolist()
    assert all(abs(m.metric - p) < 1e-4 for m, p in zip(models, predicted)), (models, predicted)
    print("NETWORKS", len(set(networks)), experiment.export_top_models(1)[0].metric == max(m.metric for m in models))
    experiment.stop()
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port: int = free.getsockname()[1]
        return port


def environment(tmp_path: Path) -> dict[str, str]:
    """A home of its own, since NNI keeps its list of experiments there."""
    return os.environ | {"HOME": str(tmp_path), "METAD2A_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}


def run_script(folder: Path, script: str, timeout: int) -> subprocess.CompletedProcess[str]:
    """Run it as a file in a folder, with Enter pressed once."""
    (folder / "script.py").write_text(script)
    return subprocess.run(
        [sys.executable, "script.py"],
        check=False,
        cwd=folder,
        env=environment(folder),
        input="\n",
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def test_pairs_are_right_and_killed_experiments_lose_and_repeat_nothing(tmp_path: Path, data_root: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "nni_trials.py"), "--trials", "8", "--repeats", "1"]
    command += ["--data", str(data_root.resolve()), "--out", str(tmp_path), "--runs", str(tmp_path)]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment(tmp_path), timeout=900)
    runs = json.loads((tmp_path / "nni_trials.json").read_text())["runs"]
    assert list(runs) == ["whole", "manager killed", "both killed"]
    for run in (run for kind in runs.values() for run in kind):
        assert run["models"] == len(run["measured"]) == 8
        assert run["wrong"] == run["lost"] == run["repeated"] == 0
    assert runs["manager killed"][0]["before"] >= 4


def test_an_error_of_the_strategy_ends_the_experiment(tmp_path: Path) -> None:
    done = run_script(tmp_path, FAILING.replace("PORT", str(free_port())), timeout=300)
    assert "ArithmeticError: told too much" in done.stderr


def test_trials_that_raise_or_report_no_number_fail_and_the_search_goes_on(tmp_path: Path) -> None:
    done = run_script(tmp_path, TROUBLE.replace("PORT", str(free_port())), timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    [counts] = re.findall(r"COUNTS \[(.*)\]", done.stdout)
    assert {"0", "1", "2"} <= set(counts.split(", ")), "the seed must make every kind of trouble"
    log = done.stdout + done.stderr
    assert "not a finite number" in log and "their errors are in trial.stderr" in log


def test_networks_of_mobilenetv3_are_paired_with_their_metrics(tmp_path: Path) -> None:
    done = run_script(tmp_path, MOBILENETV3.replace("PORT", str(free_port())), timeout=600)
    assert "NETWORKS 6 True" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["search.py", "service.py", "mobilenetv3.py"])
def test_the_scripts_of_the_page_run_as_they_stand(tmp_path: Path, name: str) -> None:
    page = (ROOT / "docs" / "nni.md").read_text()
    [script] = re.findall(rf"<!-- script: {name} -->\n```python\n(.*?)```", page, re.DOTALL)
    done = run_script(tmp_path, script.replace("8080", str(free_port())), timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    if name == "service.py":
        assert "{'cell/0_1': " in done.stdout
    else:
        said = [re.findall(r"^[\d.]+%.* (\S+)$", text, re.MULTILINE) for text in (done.stdout, page)]
        assert said[0] and set(said[0]) <= set(said[1])  # the same networks, whatever this machine's accuracies


def test_nnictl_knows_the_tuner_by_name(tmp_path: Path) -> None:
    nnictl(tmp_path, "algo", "register", "--meta", "algorithm.yml")
    try:
        jobs = create(tmp_path, "config.yml")
    finally:
        nnictl(tmp_path, "algo", "unregister", "MetaD2A")
    assert len(jobs) == 6 and all(job["status"] == "SUCCEEDED" for job in jobs)
    assert len({json.dumps(json.loads(job["hyperParameters"][0])["parameters"]) for job in jobs}) == 6


def test_nnictl_searches_mobilenetv3_by_the_class_of_the_tuner(tmp_path: Path) -> None:
    jobs = create(tmp_path, "mobilenetv3.yml")
    assert len(jobs) == 6 and all(job["status"] == "SUCCEEDED" for job in jobs)
    assert all(60 < float(json.loads(job["finalMetricData"][0]["data"])) < 80 for job in jobs)


def create(folder: Path, config: str) -> Any:
    """The trial jobs of an experiment of the page, once it is done."""
    port = free_port()
    nnictl(folder, "create", "--config", config, "--port", str(port))
    try:
        deadline = time.monotonic() + 400
        while get(port, "check-status")["status"] != "DONE":
            assert time.monotonic() < deadline, get(port, "trial-jobs")
            time.sleep(2)
        return get(port, "trial-jobs")
    finally:
        nnictl(folder, "stop", "--port", str(port))


def nnictl(folder: Path, *arguments: str) -> None:
    """Run it in the folder, which gets the files of the page."""
    for file in (ROOT / "docs" / "nni").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    env = environment(folder) | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["nnictl", *arguments], check=True, cwd=folder, env=env, timeout=120)


def get(port: int, what: str) -> Any:
    with urllib.request.urlopen(f"http://localhost:{port}/api/v1/nni/{what}") as answer:
        return json.load(answer)
