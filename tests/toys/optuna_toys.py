"""A strategy that remembers what it hears, and a worker of a study, for tests of the adapter of Optuna."""

from __future__ import annotations

import random
import time

import optuna
from metad2a_plugin.adapters.optuna import StrategySampler, suggest_architecture
from optuna.storages.journal import JournalFileBackend

from metad2a_plugin import Architecture, Strategy, get_space

SPACE = get_space("nasbench201")


class Listener(Strategy):
    """Lists what it was not told of the space, in its order; `heard` is what the last of all instances was told."""

    heard: list[tuple[Architecture, float | list[float]]] = []  # noqa: RUF012

    def __init__(self, space, *, seed=0):
        super().__init__(space, seed=seed)
        self.left = list(space.enumerate())[:100]

    def _ask(self, n):
        asked, self.left = self.left[:n], self.left[n:]
        return asked

    def _tell(self, architecture, value):
        self.left = [cell for cell in self.left if cell != architecture]
        type(self).heard.append((architecture, value))

    def _tell_partial(self, architecture, curve):
        type(self).heard.append((architecture, curve))

    def state_dict(self):
        return super().state_dict() | {"left": [list(cell.choices) for cell in self.left]}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.left = [Architecture(self.space.name, tuple(choices)) for choices in state["left"]]
        type(self).heard = []


def storage_of(kind: str, folder: str) -> optuna.storages.BaseStorage:
    if kind == "sqlite":
        return optuna.storages.RDBStorage(
            f"sqlite:///{folder}/study.db", engine_kwargs={"connect_args": {"timeout": 60}}
        )
    backend = JournalFileBackend(f"{folder}/study.log")
    return optuna.storages.JournalStorage(backend)


def value_of(architecture: Architecture) -> float:
    """Cheap, and with one best cell: more convolutions of 3 pixels are better, skips a little."""
    worth = {3: 1.0, 2: 0.6, 1: 0.3}
    return sum(worth.get(choice, 0.0) * (1 + i / 10) for i, choice in enumerate(architecture.choices))


def work(kind: str, folder: str, strategy: str, trials: int, seed: int) -> None:
    """Evaluate so many trials of the study in a folder, each a few milliseconds long."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng = random.Random(seed)

    def objective(trial: optuna.Trial) -> float:
        architecture = suggest_architecture(trial, SPACE)
        time.sleep(rng.uniform(0.005, 0.03))
        return value_of(architecture)

    # The same seed in all of them: without the study they would propose the same.
    sampler = StrategySampler(strategy, seed=0)
    study = optuna.load_study(study_name="s", storage=storage_of(kind, folder), sampler=sampler)
    study.optimize(objective, n_trials=trials)
