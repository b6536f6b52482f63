"""A search by training, with everything checked that can be checked before there is a dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.registry import DEFAULT_SPACE
from metad2a_plugin.utils.checks import integer, parse_options

if TYPE_CHECKING:
    from metad2a_plugin.data import ImageDataset
    from metad2a_plugin.plugins.strategy import Strategy
    from metad2a_plugin.spaces.base import Architecture, SearchSpace
    from metad2a_plugin.training.config import TrainConfig
    from metad2a_plugin.training.images import TrainingData

@dataclass(frozen=True)
class Plan:
    """A search by training."""

    make: Callable[..., Callable[[SearchSpace], Strategy]]
    looks: bool
    keeps: bool
    queries: int
    shared: bool
    network: tuple[str, ...]
    settings: dict[str, Any]

    def check(self, space: SearchSpace) -> None:
        """Refuse early what can be told without images."""
        if self.shared and space.name != DEFAULT_SPACE:
            raise ConfigError(f"--shared-weights needs the supernet of {DEFAULT_SPACE!r}, not {space.name!r}")
        if self.shared and self.keeps:
            raise ConfigError("this strategy searches in a supernet of its own; leave --shared-weights out")
        if not self.looks:
            self.make()(space)

    def run(
        self, space: SearchSpace, images: ImageDataset, data: TrainingData, config: TrainConfig, out: Path, top: int
    ) -> dict[str, Architecture]:
        """What is recommended, where that is not the best told, and the `top` of what was trained, best first.

        `images` are the training part, for strategies that look at a dataset.
        """
        from metad2a_plugin.strategies.trained_search import Query, search_by_shared_weights, search_by_training
        from metad2a_plugin.utils.progress import stages

        given: dict[str, Any] = {"dataset": images} if self.looks else {}
        if self.keeps:
            given["run_dir"] = out
        if self.settings.get("predictor", "naswot") == "naswot":  # others may have no networks
            own = {name: getattr(config, name) for name in self.network if name not in self.settings}
            given |= {name: value for name, value in own.items() if value is not None}
        strategy = self.make(**given)(space)
        with stages() as progress:
            strategy.prepare(progress)

            def report(query: Query) -> None:
                found = max(value for _, value in strategy.history)
                note = f"validation accuracy {query.accuracy:.1f}%, best {found:.1f}%"
                progress("query", query.number, self.queries, note)

            trained: list[Architecture] = []
            if self.shared:
                search_by_shared_weights(
                    strategy, data, config, self.queries, run_dir=out, settings=self.settings, report=report
                )
            else:
                results = search_by_training(strategy, data, config, self.queries, run_dir=out, report=report)
                trained = [result.architecture for result in results]
        recommended = strategy.recommendation
        if recommended is None:
            raise ConfigError("the strategy asked for nothing that could be trained")
        ranked = {f"rank {i}": cell for i, cell in enumerate(trained[:top], 1)}
        # Of equal accuracies the incumbent is the earliest, and so is the first of the ranks.
        return ranked if trained and recommended == trained[0] else {"recommended": recommended, **ranked}


def make_plan(
    strategy: str | None, queries: int | None, shared: bool, option: list[str] | None, seed: int
) -> Plan | None:
    """With everything checked that can be checked before there is a dataset."""
    import inspect

    if strategy is None:
        if queries is not None or shared or option:
            raise ConfigError("--queries, --shared-weights and --option are for a search with --strategy")
        return None
    from metad2a_plugin.plugins.registry import bind_strategy, get_strategy

    options = parse_options(option or [])
    kind = get_strategy(strategy)
    parameters = inspect.signature(kind).parameters
    looks = "dataset" in parameters
    # A search of its own goes on where the trainings do, unless it is kept elsewhere.
    keeps = "run_dir" in parameters and "run_dir" not in options
    if "seed" in options:
        raise ConfigError("give the seed as --seed, not as --option")
    if looks and "dataset" in options:
        raise ConfigError("the strategy is shown the training part of the dataset; leave --option dataset out")
    make = partial(bind_strategy, strategy, seed=seed, **options)
    make()  # refuses what is no option of it
    queries = 20 if queries is None else queries
    integer("queries", queries, 1)
    return Plan(make, looks, keeps, queries, shared, kind.network_settings, options)
