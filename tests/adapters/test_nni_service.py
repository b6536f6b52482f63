"""NNI's training service, for real: a node manager and a process for each trial. Minutes, so marked `service`."""

from __future__ import annotations

import base64
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

from metad2a_plugin.errors import HostError

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
    config.max_trial_number, config.trial_concurrency = 4, 2
    config.experiment_working_directory = "experiments"
    strategy = SearchStrategy("random", seed=137)
    experiment = NasExperiment(NasBench201(num_modules_per_stack=1), FunctionalEvaluator(evaluate), strategy, config)
    experiment.run(PORT)
    count = lambda sample: list(sample.values()).count("conv_3x3")
    models = list(strategy.list_models(sort=False))
    assert len(models) == 4, models
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
    config.max_trial_number, config.trial_concurrency = 4, 2
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


def test_killed_experiments_lose_and_repeat_nothing_and_pairs_are_right(tmp_path: Path, data_root: Path) -> None:
    kinds = ["manager killed", "process killed", "both killed"]  # once each, and resumed on the same port
    command = [sys.executable, str(ROOT / "benchmarks" / "nni_trials.py"), "--trials", "4", "--kills", "1"]
    command += ["--repeats", "1", "--overhead", "2"]
    command += ["--data", str(data_root.resolve()), "--out", str(tmp_path), "--runs", str(tmp_path), "--kinds", *kinds]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment(tmp_path), timeout=1200)
    runs = json.loads((tmp_path / "nni_trials.json").read_text())["runs"]
    assert list(runs) == kinds
    for run in (run for kind in runs.values() for run in kind):
        assert run["models"] == len(run["measured"]) == 4
        assert run["wrong"] == run["lost"] == run["repeated"] == 0


def test_a_running_experiment_is_not_stopped_and_others_are_left_alone(tmp_path: Path) -> None:
    import psutil
    from metad2a_plugin.adapters._nni_experiments import is_alive, stop_orphans

    def started(name: str, by: str) -> Any:
        """A process that looks like NNI's manager of an experiment, and what started it."""
        main = tmp_path / "nni_node" / "main.js"
        main.parent.mkdir(exist_ok=True)
        main.write_text("import time; time.sleep(3600)")
        command = [sys.executable, str(main), "--experiment-id", name, "--experiments-directory", str(tmp_path)]
        command += ["--python-interpreter", sys.executable]
        script = f"import subprocess, time; print(subprocess.Popen({command!r}).pid, flush=True); {by}"
        starter = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert starter.stdout is not None
        return starter, psutil.Process(int(starter.stdout.readline()))

    processes = [started("left", ""), started("other", ""), started("running", "time.sleep(3600)")]
    (first, left), (second, other), (starter, running) = processes
    try:
        first.wait(30)
        second.wait(30)
        said = f"'running' is running: .* process {running.pid}, started by process {starter.pid}"
        with pytest.raises(HostError, match=said):
            stop_orphans("running", tmp_path)
        stop_orphans("left", tmp_path / "elsewhere")
        assert is_alive(left)
        stop_orphans("left", tmp_path)
        assert not is_alive(left)
        assert is_alive(other) and is_alive(running)
    finally:
        for started_by, process in processes:
            started_by.kill()
            started_by.wait()
            if is_alive(process):
                process.kill()


def test_an_ended_process_that_nobody_has_asked_for_is_not_waited_for(tmp_path: Path) -> None:
    import psutil
    from metad2a_plugin.adapters._nni_experiments import stop_orphans

    environment = dict(os.environ) | {"NNI_SYS_DIR": str(tmp_path / "ours" / "trials" / "one")}
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], env=environment)
    try:
        begin = time.monotonic()
        stop_orphans("ours", tmp_path)
        assert time.monotonic() - begin < 20
        assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
    finally:
        process.kill()
        process.wait()


def connection(folder: Path) -> tuple[float, float]:
    """Seconds until a tuner has connected to what passes for NNI's manager, and those of a processor that it used."""
    import psutil

    tuner = {"className": "metad2a_plugin.adapters.nni.MetaD2ATuner", "classArgs": {"dataset": "sklearn:digits"}}
    given = base64.b64encode(json.dumps({"tuner": tuner}).encode()).decode()
    begin = time.monotonic()
    with socket.create_server(("localhost", 0)) as manager:
        manager.settimeout(300)
        told = {"SDK_PROCESS": "dispatcher", "NNI_MODE": "create", "NNI_LOG_DIRECTORY": str(folder)}
        told["NNI_TUNER_COMMAND_CHANNEL"] = f"ws://localhost:{manager.getsockname()[1]}/tuner"
        command = [sys.executable, "-m", "nni", "--exp_params", given]
        started = subprocess.Popen(command, env=environment(folder) | told, stderr=subprocess.DEVNULL)
        try:
            manager.accept()[0].close()
            return time.monotonic() - begin, sum(psutil.Process(started.pid).cpu_times()[:2])
        finally:
            started.kill()
            started.wait()


def test_a_tuner_connects_within_nni_s_ten_seconds_beside_eight_busy_processes(tmp_path: Path) -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(8)]
    found = []
    try:
        # Ours is what it uses of a processor, of which a machine with other work too has less, and slower, at times:
        # it is in time by the clock, or would be with its share of two processors beside those eight alone.
        while len(found) < 3 and not any(min(seconds, used * 9 / 2) < 10 for seconds, used in found):
            found.append(connection(tmp_path))
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert any(min(seconds, used * 9 / 2) < 10 for seconds, used in found), found


def test_a_tuner_imports_what_is_slow_after_it_has_connected(tmp_path: Path) -> None:
    script = """
import nni, sys, time
begin = time.process_time()
from metad2a_plugin.adapters.nni import MetaD2ATuner
tuner = MetaD2ATuner(dataset="nowhere", surely="wrong")
print("SECONDS", time.process_time() - begin, *sorted({"torch", "nni.nas"} & set(sys.modules)))
tuner.update_search_space({f"cell/{e}": {"_type": "choice", "_value": ["none", "conv_3x3"]} for e in EDGES.split()})
"""
    script = script.replace("EDGES", repr("0_1 0_2 1_2 0_3 1_3 2_3"))
    (tmp_path / "script.py").write_text(script)
    env = environment(tmp_path) | {"SDK_PROCESS": "dispatcher", "NNI_LOG_DIRECTORY": str(tmp_path)}
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, check=False, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    [said] = re.findall("SECONDS (.*)", done.stdout)
    assert float(said) < 1, said  # and neither of the two modules
    assert "ConfigError" in done.stderr and "surely" in done.stderr


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
    assert "NETWORKS 4 True" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["search.py", "service.py", "mobilenetv3.py"])
def test_the_scripts_of_the_page_run_as_they_stand(tmp_path: Path, name: str) -> None:
    page = (ROOT / "docs" / "nni.md").read_text()
    [script] = re.findall(rf"<!-- script: {name} -->\n```python\n(.*?)```", page, re.DOTALL)
    done = run_script(tmp_path, fewer(script).replace("8080", str(free_port())), timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    if name == "service.py":
        assert "{'cell/0_1': " in done.stdout
    else:
        said = [re.findall(r"^[\d.]+%.* (\S+)$", text, re.MULTILINE) for text in (done.stdout, page)]
        assert said[0] and set(said[0]) <= set(said[1])  # the same networks, whatever this machine's accuracies


def fewer(text: str) -> str:
    """A script or configuration with three trials on the training service, each of which starts a process."""
    return re.sub(r"(max_trial_number, config.trial_concurrency =|maxTrialNumber:) \d+", r"\1 3", text)


def test_nnictl_knows_the_tuner_by_name(tmp_path: Path) -> None:
    nnictl(tmp_path, "algo", "register", "--meta", "algorithm.yml")
    try:
        jobs = create(tmp_path, "config.yml")
    finally:
        nnictl(tmp_path, "algo", "unregister", "MetaD2A")
    assert len(jobs) == 3 and all(job["status"] == "SUCCEEDED" for job in jobs)
    assert len({json.dumps(json.loads(job["hyperParameters"][0])["parameters"]) for job in jobs}) == 3


def test_nnictl_searches_mobilenetv3_by_the_class_of_the_tuner(tmp_path: Path) -> None:
    jobs = create(tmp_path, "mobilenetv3.yml")
    assert len(jobs) == 3 and all(job["status"] == "SUCCEEDED" for job in jobs)
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
        content = fewer(file.read_text()).encode() if file.suffix == ".yml" else file.read_bytes()
        (folder / file.name).write_bytes(content)
    env = environment(folder) | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["nnictl", *arguments], check=True, cwd=folder, env=env, timeout=120)


def get(port: int, what: str) -> Any:
    with urllib.request.urlopen(f"http://localhost:{port}/api/v1/nni/{what}") as answer:
        return json.load(answer)
