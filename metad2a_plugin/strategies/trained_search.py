"""A search whose strategy is told what training finds: each architecture on its own, or with weights that all share."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from metad2a_plugin.data import load_dataset
from metad2a_plugin.errors import CheckpointError, ConfigError, require
from metad2a_plugin.one_shot.shared_weights import SharedWeights
from metad2a_plugin.plugins.registry import entry, get_predictor
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.interfaces import weight_sharing
from metad2a_plugin.training.at_once import train_each, trainers
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.fit import Callback, checked_callbacks
from metad2a_plugin.training.images import TrainingData, prepare
from metad2a_plugin.training.result import TrainResult
from metad2a_plugin.training.run import train_architecture
from metad2a_plugin.utils.checks import integer
from metad2a_plugin.utils.files import UNREADABLE, write_atomically
from metad2a_plugin.utils.locks import alone_in
from metad2a_plugin.utils.progress import Progress
from metad2a_plugin.utils.schema import anything, mapping_of, read_json, why

QUERIES = 20
"""Architectures that a strategy asks for, unless told otherwise."""


class TrainedSearch(NamedTuple):
    """What `train_search` has found.

    Attributes:
        recommended: what the strategy recommends, trained on its own.
        trained: all that was asked for and trained to the end, best first; empty where weights were shared.
        data: what it was trained on, decoded and split.
        strategy: as it is after the search, with its history.
    """

    recommended: TrainResult
    trained: tuple[TrainResult, ...]
    data: TrainingData
    strategy: Strategy


def train_search(
    space: SearchSpace,
    strategy: str,
    dataset: Any,
    config: TrainConfig | None = None,
    *,
    queries: int = QUERIES,
    shared_weights: bool = False,
    options: Mapping[str, Any] | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    progress: Progress = lambda stage, done, total, note: None,
    callbacks: Iterable[Callback] = (),
    ray: str | None = None,
) -> TrainedSearch:
    """Train what a strategy asks for, tell it the validation accuracies, and train what it recommends.

    The strategy is shown the training part alone; but the validation accuracies guide it, so that those of the best are
    somewhat too high. What can be checked without images is checked before any is decoded.

    Args:
        space: the search space.
        strategy: its registry name (``metad2a list strategies``).
        dataset: anything that `load_dataset` reads, or `TrainingData` of the same config.
        config: how each is trained; its seed is the strategy's too.
        queries: architectures that the strategy asks for.
        shared_weights: train one supernet for all queries, an epoch each, and on its own only what is recommended.
        options: of the strategy, by name. One that makes networks of its own gets those of `config` too,
            and one that uses a budget that of `config`.
        run_dir: where everything is kept, so that the same call goes on after an interruption.
        progress: called after each query, and with what the strategy does before the first.
        callbacks: told after every epoch of a network that is trained on its own, see `training.Callback`.
        ray: address of a Ray cluster, ``"local"`` for a new one on this machine. As many queries are asked for and
            trained at once as it has GPUs, or CPUs where it has none; none is stopped. All its machines must see
            `run_dir`.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: an option is wrong, the space has no shared weights, a loss is not finite, or nothing that the
            strategy asked for could be trained.
        DatasetError: see `prepare`.
        CheckpointError: a file in `run_dir` is damaged.
    """
    config, options = config or TrainConfig(), dict(options or {})
    integer("queries", queries, 1)
    callbacks = checked_callbacks(callbacks)
    if ray is not None:
        require("ray", "training at once", "ray")
        if callbacks:
            raise ConfigError("callbacks are told of trainings in this process; leave them out, or ray")
        if shared_weights:
            raise ConfigError("a supernet is trained query by query; leave out shared weights, or ray")
    make = _maker(space, strategy, config, options, shared_weights, run_dir)
    data = dataset if isinstance(dataset, TrainingData) else prepare(load_dataset(dataset), config, stream=True)
    searching = make(data)
    searching.prepare(progress)

    def report(query: Query) -> None:
        note = f"validation accuracy {query.accuracy:.1f}%{', stopped' if query.stopped else ''}"
        if searching.best is not None:
            note += f", best {searching.best[1]:.1f}%"
        progress("query", query.number, queries, note)

    trained: list[TrainResult] = []
    if shared_weights:
        search_by_shared_weights(searching, data, config, queries, run_dir=run_dir, settings=options, report=report)
    elif ray is not None:
        trained = search_at_once(ray, searching, data, config, queries, run_dir=run_dir, report=report)
    else:
        trained = search_by_training(
            searching, data, config, queries, run_dir=run_dir, report=report, callbacks=callbacks
        )
    recommended = searching.recommendation
    if recommended is None:
        raise ConfigError("the strategy asked for nothing that could be trained")
    own = next((result for result in trained if result.architecture == recommended), None)
    own = own or train_architecture(
        space, recommended, data, config, run_dir=run_dir, progress=progress, callbacks=callbacks
    )
    return TrainedSearch(own, tuple(trained), data, searching)


def _maker(
    space: SearchSpace,
    name: str,
    config: TrainConfig,
    options: Mapping[str, Any],
    shared_weights: bool,
    run_dir: str | os.PathLike[str] | None,
) -> Callable[[TrainingData], Strategy]:
    """What makes the strategy once there are images, with all refused that can be refused before."""
    registered = entry("strategies", name)
    for given in ("seed", "dataset"):
        if given in options:
            raise ConfigError(f"leave the option {given!r} out: the strategy has that of its training")
    kind: type[Strategy] = registered.load()
    handed = kind.taken_from_training(options)
    if shared_weights:
        weight_sharing(space)
        if "run_dir" in handed:
            own = hasattr(getattr(kind, "config_class", None), "shared_weights")
            advice = "give its option shared_weights=true instead" if own else "shared weights are for others"
            raise ConfigError(f"the strategy {name!r} trains weights of its own; {advice}")
    bound = registered.bind(seed=config.seed, **options)  # refuses what is no option of it
    looks = registered.takes("dataset")
    budgeted = "budget" not in options and kind.uses_budget(space, options)
    if not looks:
        bound(space)

    def make(data: TrainingData) -> Strategy:
        given: dict[str, Any] = {"dataset": data.train} if looks else {}
        settled = config.resolved(len(data.labels))
        if budgeted:
            given["budget"] = replace(settled.budget, images=len(data.labels))
        if "run_dir" in handed:
            # A search of its own goes on where the trainings do, unless it is kept elsewhere.
            given["run_dir"] = run_dir
        predictor = options.get("predictor")
        if predictor is None or (isinstance(predictor, str) and get_predictor(predictor).network is not None):
            given |= settled.part([setting for setting in handed if setting != "run_dir"])
        return bound(space, **given | dict(options))

    return make


class Query(NamedTuple):
    """The `number`-th architecture that a strategy asked for, and its validation accuracy in percent.

    `stopped` tells that the strategy had its training stopped; the accuracy is the last one then.
    """

    number: int
    architecture: Architecture
    accuracy: float
    stopped: bool = False


_Report = Callable[[Query], None]


def search_by_training(
    strategy: Strategy,
    data: TrainingData,
    config: TrainConfig,
    queries: int,
    *,
    run_dir: str | os.PathLike[str] | None = None,
    report: _Report = lambda query: None,
    callbacks: Iterable[Callback] = (),
) -> list[TrainResult]:
    """Train each architecture that a strategy asks for and tell it the validation accuracy.

    A training that the strategy has stopped, see `Strategy.should_stop`, is told as a partial one.

    Args:
        strategy: a new one; with the same seed it asks again for what `run_dir` holds, which is not trained again.
        data: of `prepare`, with the same config.
        config: how each is trained.
        queries: architectures to train; fewer if the strategy is exhausted.
        run_dir: where runs are kept, see `train_architecture`.
        report: called after each.
        callbacks: as of `train_search`.

    Returns:
        Different architectures that were trained to the end, best first.

    Raises:
        ConfigError: a loss is not finite, or `queries` is not positive.
    """
    integer("queries", queries, 1)
    callbacks = checked_callbacks(callbacks)
    results: dict[Architecture, TrainResult] = {}
    for number in range(1, queries + 1):
        asked = strategy.ask()
        if not asked:
            break
        architecture = asked[0]
        if architecture not in results:
            stop = partial(strategy.should_stop, architecture)
            results[architecture] = train_architecture(
                strategy.space,
                architecture,
                data,
                config,
                run_dir=run_dir,
                progress=False,
                stop=stop,
                callbacks=callbacks,
            )
        found = results[architecture]
        if found.stopped:
            strategy.tell_partial(architecture, [epoch.accuracy for epoch in found.history])
        else:
            strategy.tell(architecture, found.accuracy)
        report(Query(number, architecture, found.accuracy, found.stopped))
    whole = [result for result in results.values() if not result.stopped]
    return sorted(whole, key=lambda result: -result.accuracy)


def search_at_once(
    address: str,
    strategy: Strategy,
    data: TrainingData,
    config: TrainConfig,
    queries: int,
    *,
    run_dir: str | os.PathLike[str] | None = None,
    report: _Report = lambda query: None,
) -> list[TrainResult]:
    """As `search_by_training`, as many at a time as a Ray cluster has devices; no training is stopped.

    The strategy is told in the order of its asks, so that the same cluster gives the same search.

    Args:
        address: of the cluster.
    """
    integer("queries", queries, 1)
    results: dict[Architecture, TrainResult] = {}
    done = 0
    with trainers(address, strategy.space, data, config, run_dir, queries) as at_once:
        while done < queries and (asked := strategy.ask(min(at_once.count, queries - done))):
            new = [one for one in dict.fromkeys(asked) if one not in results]
            results |= zip(new, train_each(at_once, new), strict=True)
            for number, architecture in enumerate(asked, done + 1):
                strategy.tell(architecture, results[architecture].accuracy)
                report(Query(number, architecture, results[architecture].accuracy))
            done += len(asked)
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
        strategy: of a `WeightSharing` space; its state is replaced by that of an interrupted search in `run_dir`.
        data: of `prepare`, with the same config.
        config: of the supernet; one epoch a query, whatever its `epochs`.
        queries: architectures to ask for.
        run_dir: after each query the search is saved in a folder in it that is named by what the search depends on:
            the images, the config, the strategy's seed and its plain public attributes.
        settings: what else tells the strategy from others, in plain values, such as options that it does not show.
        report: called after each query.

    Raises:
        ConfigError: another search space, the loss is not finite, `queries` is not positive, or another process is in
            the same search in `run_dir`.
        CheckpointError: the state in `run_dir` is damaged.
    """
    integer("queries", queries, 1)
    shared = SharedWeights(data, replace(config, epochs=queries), strategy.space)
    saved = None if run_dir is None else _Saved(Path(run_dir), strategy, shared, settings or {})
    with alone_in(None if saved is None else saved.dir):
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

    def __init__(self, run_dir: Path, strategy: Strategy, shared: SharedWeights, settings: Mapping[str, Any]) -> None:
        self.strategy, self.shared = strategy, shared
        plain = {k: v for k, v in vars(strategy).items() if isinstance(v, (bool, int, float, str)) and k[0] != "_"}
        parts = (shared.key, strategy.state_dict(), plain, dict(settings))
        self.dir = run_dir / f"shared-{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]}"

    def _weights(self) -> Path:
        return self.dir / f"supernet-{len(self.strategy.history)}.pt"

    def save(self) -> None:
        write_atomically(self._weights(), self.shared.state())
        # Only now do they count: a search killed in between goes on from the query before.
        write_atomically(self.dir / "search.json", json.dumps(self.strategy.state_dict()).encode())
        for path in set(self.dir.glob("supernet-*.pt")) - {self._weights()}:
            path.unlink()

    def resume(self) -> None:
        path = self.dir / "search.json"
        if not path.exists():
            return
        try:
            self.strategy.load_state_dict(mapping_of(anything)(read_json(path), ""))
        except UNREADABLE as error:
            raise CheckpointError(
                f"{str(path)!r} cannot be read ({why(error)}); remove the folder {str(self.dir)!r} "
                "to search again from the start"
            ) from error
        self.shared.load_state(self._weights())
