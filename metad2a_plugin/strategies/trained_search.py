"""A search whose strategy is told what training finds: each architecture on its own, or with weights that all share."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.one_shot.shared_weights import SharedWeights
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import TrainingData
from metad2a_plugin.training.result import TrainResult
from metad2a_plugin.training.run import train_architecture
from metad2a_plugin.utils.checks import integer
from metad2a_plugin.utils.files import write_atomically


class Query(NamedTuple):
    """The `number`-th architecture that a strategy asked for, and its validation accuracy in percent."""

    number: int
    architecture: Architecture
    accuracy: float


_Report = Callable[[Query], None]


def search_by_training(
    strategy: Strategy,
    data: TrainingData,
    config: TrainConfig,
    queries: int,
    *,
    run_dir: str | os.PathLike[str] | None = None,
    report: _Report = lambda query: None,
) -> list[TrainResult]:
    """Train each architecture that a strategy asks for and tell it the validation accuracy.

    Args:
        strategy: a new one; with the same seed it asks again for what `run_dir` holds, which is not trained again.
        data: of `prepare`, with the same config.
        config: how each is trained.
        queries: architectures to train; fewer if the strategy is exhausted.
        run_dir: where runs are kept, see `train_architecture`.
        report: called after each.

    Returns:
        Different architectures, best first.

    Raises:
        ConfigError: a loss is not finite, or `queries` is not positive.
    """
    integer("queries", queries, 1)
    results: dict[Architecture, TrainResult] = {}
    for number in range(1, queries + 1):
        asked = strategy.ask()
        if not asked:
            break
        architecture = asked[0]
        if architecture not in results:
            results[architecture] = train_architecture(
                strategy.space, architecture, data, config, run_dir=run_dir, progress=False
            )
        strategy.tell(architecture, results[architecture].accuracy)
        report(Query(number, architecture, results[architecture].accuracy))
    return sorted(results.values(), key=lambda result: -result.accuracy)


def search_by_shared_weights(
    strategy: Strategy,
    data: TrainingData,
    config: TrainConfig,
    queries: int,
    *,
    run_dir: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    report: _Report = lambda query: None,
) -> SharedWeights:
    """Train a supernet for one epoch along each architecture that a strategy asks for, and tell it that accuracy.

    This is the search of MDENAS (Zheng et al., ICCV 2019, section 3.4), with any strategy. What is found is
    ``strategy.recommendation``; accuracies are those of shared weights, which only compare architectures, and
    early ones are lower than late ones.

    Args:
        strategy: of ``nasbench201``; its state is replaced by that of an interrupted search in `run_dir`.
        data: of `prepare`, with the same config.
        config: of the supernet; one epoch a query, whatever its `epochs`.
        queries: architectures to ask for.
        run_dir: after each query the search is saved in a folder in it that is named by what the search depends on:
            the images, the config, the strategy's seed and its plain public attributes.
        settings: what else tells the strategy from others, in plain values, such as options that it does not show.
        report: called after each query.

    Raises:
        ConfigError: another search space, the loss is not finite, or `queries` is not positive.
        CheckpointError: the state in `run_dir` is damaged.
    """
    integer("queries", queries, 1)
    if strategy.space.name != "nasbench201":
        raise ConfigError(f"shared weights are of 'nasbench201', the strategy searches {strategy.space.name!r}")
    shared = SharedWeights(data, replace(config, epochs=queries))
    saved = None if run_dir is None else _Saved(Path(run_dir), strategy, shared, settings or {})
    if saved is not None:
        saved.resume()
    for number in range(len(strategy.history) + 1, queries + 1):
        asked = strategy.ask()
        if not asked:
            break
        strategy.tell(asked[0], shared.evaluate(asked[0]))
        if saved is not None:
            saved.save()
        report(Query(number, *strategy.history[-1]))
    return shared


class _Saved:
    """A search of shared weights in a folder: ``search.json``, and the supernet's state after as many queries."""

    def __init__(
        self, run_dir: Path, strategy: Strategy, shared: SharedWeights, settings: Mapping[str, Any]
    ) -> None:
        self.strategy, self.shared = strategy, shared
        plain = {k: v for k, v in vars(strategy).items() if isinstance(v, (bool, int, float, str)) and k[0] != "_"}
        parts = (shared.key, strategy.state_dict(), plain, dict(settings))
        self.dir = run_dir / f"shared-{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]}"

    def _weights(self) -> Path:
        return self.dir / f"supernet-{len(self.strategy.history)}.pt"

    def save(self) -> None:
        earlier = list(self.dir.glob("supernet-*.pt"))
        write_atomically(self._weights(), self.shared.state())
        # Only now do they count: a search killed in between goes on from the query before.
        write_atomically(self.dir / "search.json", json.dumps(self.strategy.state_dict()).encode())
        for path in earlier:
            path.unlink()

    def resume(self) -> None:
        path = self.dir / "search.json"
        if not path.exists():
            return
        try:
            state: dict[str, Any] = json.loads(path.read_bytes())
            self.strategy.load_state_dict(state)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{str(path)!r} cannot be read ({type(error).__name__}: {error}); remove the folder {str(self.dir)!r} "
                "to search again from the start"
            ) from error
        self.shared.load_state(self._weights())
