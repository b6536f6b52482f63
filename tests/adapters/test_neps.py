"""Strategies in neps itself: its ask and tell, its runs, and several processes on one folder."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

adapter = pytest.importorskip(
    "metad2a_plugin.adapters.neps", reason="neps is not installed, or does not import", exc_type=ImportError
)
import neps  # noqa: E402
from metad2a_plugin.adapters._neps_space import group_of  # noqa: E402

from metad2a_plugin.errors import ArchitectureError, ConfigError  # noqa: E402
from metad2a_plugin.plugins.registry import get_space  # noqa: E402
from metad2a_plugin.spaces.restricted import RestrictedSpace  # noqa: E402

CELLS = get_space("nasbench201")
LR = neps.Float(1e-3, 1.0, log=True)


def size(architecture: Any) -> float:
    return get_space(architecture.space).cost(architecture).params


def asking(name: str = "local-search", space: Any = "nasbench201", **options: Any) -> tuple[Any, Any]:
    made = adapter.strategy(adapter.pipeline_space(space, lr=LR), name, search_space=space, **options)
    return neps.AskAndTell(made), made


def drive(host: Any, made: Any, count: int) -> list[Any]:
    found = []
    for _ in range(count):
        trial = host.ask()
        found.append(made.architecture(trial.config))
        host.tell(trial, size(found[-1]))
    return found


# -- what is asked ---------------------------------------------------------------------------------------
def test_small_networks_are_found_where_small_is_good() -> None:
    host, made = asking()
    found = [size(one) for one in drive(host, made, 60)]
    assert min(found[30:]) < min(found[:10])


@pytest.mark.parametrize("space", ["nasbench201", "mobilenetv3"])
def test_networks_of_a_space_come_and_none_twice(space: str) -> None:
    host, made = asking("random", space)
    found = [made.architecture(trial.config) for trial in host.ask(n=12)] + drive(host, made, 4)
    known = get_space(space)
    assert len({known.canonical(one) for one in found}) == 16


def test_what_runs_or_failed_is_not_proposed_again() -> None:
    first, made = asking("random", seed=1)
    pending = first.ask(n=5)
    first.tell(pending[0], ValueError("out of memory"))
    again = adapter.strategy(adapter.pipeline_space(lr=LR), "random", seed=1)
    texts = {CELLS.canonical(made.architecture(trial.config)) for trial in pending}
    for asked in again(first.trials, None, 20):
        assert CELLS.canonical(again.architecture(asked.config)) not in texts


@pytest.mark.parametrize("name", ["metad2a", "random"])
def test_a_new_process_proposes_what_one_would_that_knew_all_before(name: str) -> None:
    host, made = asking(name, seed=2)
    drive(host, made, 12)
    new = adapter.strategy(adapter.pipeline_space(lr=LR), name, seed=2)
    old, fresh = made(host.trials, None), new(host.trials, None)
    assert old.id == fresh.id == "13"
    assert made.architecture(old.config) == new.architecture(fresh.config)


def test_a_part_of_a_space_and_other_parameters() -> None:
    part = RestrictedSpace(CELLS, ((3,), *[(1, 3, 4)] * 5))
    host, made = asking("random", part)
    for trial in host.ask(n=6):
        assert made.architecture(trial.config).choices[0] == 3
        assert any("lr" in name and 1e-3 <= value <= 1 for name, value in trial.config.items())


def test_metad2a_ranks_first_and_then_learns() -> None:
    space = adapter.pipeline_space()
    made = adapter.metad2a(space, max_params=0.4)
    host = neps.AskAndTell(made)
    assert all(size(one) <= 0.4 for one in drive(host, made, 6))


def test_imported_trials_are_told() -> None:
    _, made = asking()
    other, its = asking("random")
    trials = other.ask(n=3)
    for trial in trials:
        other.tell(trial, size(its.architecture(trial.config)))
    done = [(trial.config, {"objective_to_minimize": 1.0}) for trial in trials]
    assert [one.id for one in made.import_trials(done, {})] == ["1", "2", "3"]
    made(other.trials, None)
    assert len(made._strategy.history) == 3


# -- configurations --------------------------------------------------------------------------------------
@pytest.mark.parametrize("space", ["nasbench201", "mobilenetv3"])
def test_a_configuration_is_the_architecture(space: str) -> None:
    known = get_space(space)
    for seed in range(10):
        architecture = known.sample(random.Random(seed))
        config = group_of(known, "net").write(architecture) | {"lr": 0.1}
        assert adapter.architecture_of(config, known, group="net") == architecture


@pytest.mark.parametrize("config", [{}, {"architecture_0_1": "none"}, {"architecture_0_1": "conv_9x9"}])
def test_a_configuration_of_no_architecture_is_refused(config: dict[str, str]) -> None:
    with pytest.raises(ArchitectureError, match=r"lacks 'architecture_0_\d'|must be one of"):
        adapter.architecture_of(config)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: adapter.pipeline_space("nasbench"), "did you mean 'nasbench201'"),
        (lambda: adapter.pipeline_space(architecture_0_1=LR), "another name"),
        (lambda: adapter.pipeline_space(group="a b"), "group must be a name"),
        (lambda: adapter.strategy(adapter.pipeline_space(), "randm"), "did you mean 'random'"),
        (lambda: adapter.strategy(adapter.pipeline_space(), "random", speed=3), "speed"),
        (lambda: adapter.strategy(adapter.pipeline_space(), "random", seed="x"), "seed must be an integer"),
        (lambda: adapter.strategy(adapter.pipeline_space("mobilenetv3"), "random"), "must have a categorical"),
        (lambda: adapter.strategy({"lr": LR}, "random"), "expected a neps.PipelineSpace"),
        (lambda: adapter.metad2a(adapter.pipeline_space(), max_params=1e-9), "no .* within|params"),
    ],
)
def test_what_is_wrong_is_said(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_several_objectives_are_refused() -> None:
    host, _ = asking("random")
    host.tell(host.ask(), [1.0, 2.0])
    with pytest.raises(ConfigError, match="several objectives"):
        host.ask()


def test_a_space_that_is_used_up_says_so() -> None:
    part = RestrictedSpace(CELLS, ((3, 4), *[(3,)] * 5))
    host, _ = asking("random", part)
    host.ask(n=2)
    with pytest.raises(ConfigError, match="nothing left to propose after 2 networks"):
        host.ask()


# -- runs ------------------------------------------------------------------------------------------------
def evaluate(lr: float, **chosen: Any) -> float:
    return size(adapter.architecture_of(chosen))


def run(folder: Path, total: int, optimizer: Any = None) -> None:
    neps.run(
        evaluate,
        adapter.pipeline_space(lr=LR),
        root_directory=folder,
        optimizer=optimizer or partial(adapter.strategy, name="local-search", seed=5),
        total_evaluations_to_spend=total,
    )


def objectives(folder: Path) -> list[float]:
    full, _ = neps.status(folder, print_summary=False)
    return list(full["objective_to_minimize"])


@pytest.mark.filterwarnings("ignore")
def test_a_run_goes_on_in_its_folder_as_if_it_had_not_ended(tmp_path: Path) -> None:
    run(tmp_path / "parts", 4)
    run(tmp_path / "parts", 8)
    run(tmp_path / "whole", 8)
    assert objectives(tmp_path / "parts") == objectives(tmp_path / "whole")


WORKER = """
import os, sys, time
from functools import partial
from pathlib import Path
import neps
from metad2a_plugin.adapters import neps as adapter
from metad2a_plugin import get_space

def evaluate(**chosen):
    time.sleep(0.1)
    return get_space("nasbench201").cost(adapter.architecture_of(chosen)).params

optimizer, space = partial(adapter.strategy, name="local-search", seed=5), adapter.pipeline_space()
Path(f"ready-{os.getpid()}").touch()
while len(list(Path().glob("ready-*"))) < 2:  # else the first to have imported all may do all
    time.sleep(0.01)
neps.run(evaluate, space, root_directory=sys.argv[1], optimizer=optimizer, total_evaluations_to_spend=16)
"""


@pytest.mark.slow
def test_two_processes_share_a_folder_and_train_nothing_twice(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", WORKER, str(tmp_path / "run")]
    workers = [subprocess.Popen(command, cwd=tmp_path, env=dict(os.environ)) for _ in range(2)]
    assert [worker.wait(400) for worker in workers] == [0, 0]
    full, _ = neps.status(tmp_path / "run", print_summary=False)
    assert len(full) >= 16 and (full["reported_as"] == "success").all()
    cells = full.filter(like="architecture_").astype(str).agg("|".join, axis=1)
    assert cells.is_unique and full["evaluating_worker_id"].nunique() == 2


def test_neps_own_optimizers_search_the_same_space(tmp_path: Path) -> None:
    run(tmp_path / "own", 3, "random_search")
    assert len(objectives(tmp_path / "own")) == 3
