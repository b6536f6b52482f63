"""Strategies as optimizers of NASLib."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.plugins.budget import AnyBudget, Budget, default_model
from metad2a_plugin.plugins.registry import bind_strategy, get_space
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.search.metad2a import MetaD2A
from metad2a_plugin.spaces.base import Architecture

from ._naslib_host import MetaOptimizer, Metric
from ._naslib_images import images_of
from ._naslib_space import RECORD_OF, is_looked_up, require_space, with_architecture

MODEL = "nasbench201-paper"
"""Default model here: NASLib scores on the tables, which this one has never seen."""
Query = tuple[Architecture, float]
"""What was looked up, and its validation accuracy in percent; NaN where there was no finite number."""


class StrategyOptimizer(MetaOptimizer):
    """A strategy of ours as an optimizer of NASLib: one query an epoch of its Trainer.

    A validation accuracy that is no finite number is reported in a warning and kept in `history` as NaN; the strategy
    never hears of it. A strategy that has nothing more to propose says so once, and the epochs that are left pass
    without a query. The Trainer's checkpoints hold the whole state, so that a resumed search goes on as if it had not
    been interrupted; one that starts over in the folder of an earlier search says so.

    Args:
        config: NASLib's; read are `dataset` and, where there is one, `search.seed` (else `seed`, else 0).
        strategy: name of a strategy; ``available("strategies")`` lists them.
        **options: of the strategy.

    Attributes:
        history: every query, in order.

    Raises:
        ConfigError: no such strategy, it does not take these options, or `config` is no configuration.
    """

    using_step_function = False

    def __init__(self, config: Any, strategy: str = "regularized-evolution", **options: Any) -> None:
        super().__init__()
        require_config(config)
        if "dataset" in options:
            options["dataset"] = images_of(options["dataset"])
        self.config = config
        self.dataset: str = config.dataset
        self.performance_metric = Metric.VAL_ACCURACY
        self.seed = int(getattr(config.search, "seed", getattr(config, "seed", 0)))
        if "seed" in options:
            raise ConfigError("seed: the optimizer's seed is that of the configuration; set config.search.seed")
        self._make = bind_strategy(strategy, seed=self.seed, **options)
        self._strategy: Strategy | None = None
        self.history: list[Query] = []
        self._exhausted = False

    @property
    def strategy(self) -> Strategy:
        """The strategy itself; a `ConfigError` as long as there is no search space."""
        if self._strategy is None:
            raise ConfigError("there is no search space yet; call adapt_search_space first")
        return self._strategy

    # -- what the Trainer calls --------------------------------------------------------------
    def adapt_search_space(self, search_space: Any, scope: Any = None, dataset_api: Any = None) -> None:
        """Take the space to search in.

        Args:
            search_space: a `NasBench201SearchSpace`; if its `query` is overridden, it gets whole networks to train.
            scope: not used: all cells are equal.
            dataset_api: what `query` reads; see `dataset_api` of this module.

        Raises:
            ConfigError: another search space, or no `dataset_api` to look results up in; or as the strategy says.
            CheckpointError: the strategy's model cannot be read.
            DatasetError: the strategy's dataset cannot be used.
        """
        require_space(search_space)
        if dataset_api is None and is_looked_up(search_space):
            raise ConfigError("NASLib's query looks results up: pass dataset_api=dataset_api(benchmark)")
        self.search_space = search_space
        self.scope = scope or search_space.OPTIMIZER_SCOPE
        self.dataset_api = dataset_api
        self._strategy = self._make(get_space("nasbench201"))

    def new_epoch(self, epoch: int) -> None:
        if epoch == 0:
            self._report_start_over()
        asked = [] if self._exhausted else self.strategy.ask()
        if not asked and not self._exhausted:
            self._exhausted = True
            warnings.warn(
                f"the strategy has nothing more to propose after {len(self.history)} queries; epochs from {epoch} on "
                "pass without one",
                stacklevel=2,
            )
        for architecture in asked:
            value = number(self._query(architecture, self.performance_metric))
            self.history.append((architecture, value))
            if math.isfinite(value):
                self.strategy.tell(architecture, value)
            else:
                warnings.warn(
                    f"{self.strategy.space.format(architecture)} has no finite validation accuracy on "
                    f"{self.dataset!r}; the strategy goes on without it",
                    stacklevel=2,
                )

    def train_statistics(self, report_incumbent: bool = True) -> tuple[float, float, float, float]:
        """Training, validation and test accuracy in percent, and seconds of training; NaN where unknown.

        Args:
            report_incumbent: of the incumbent, or of the last query.
        """
        last = self.history[-1] if self.history else None
        query = self.strategy.best if report_incumbent else last
        if query is None:
            return (math.nan,) * 4
        cell = query[0]
        train, valid, seconds = (
            number(self._query(cell, metric))
            for metric in (Metric.TRAIN_ACCURACY, self.performance_metric, Metric.TRAIN_TIME)
        )
        return train, valid, self.test_accuracy(cell), seconds

    def test_statistics(self) -> Any:
        """Everything the table holds of the incumbent; None where there is no table, or no incumbent."""
        best = self.strategy.best
        return self._query(best[0], Metric.RAW) if best and is_looked_up(self.search_space) else None

    def get_final_architecture(self) -> Any:
        """What the strategy recommends, mostly the incumbent, as a graph of the given search space.

        With its network, unless that is a `TableSpace`.

        Raises:
            ConfigError: no query had a finite validation accuracy.
        """
        found = self.strategy.recommendation
        if found is None:
            raise ConfigError(f"no architecture has a finite validation accuracy, of {len(self.history)} queries")
        return with_architecture(self.search_space, found, network=True)

    def get_op_optimizer(self) -> Any:
        raise NotImplementedError("no weights are trained in this search")

    def get_checkpointables(self) -> dict[str, Any]:
        return {"model": _State(self.state_dict, self.load_state_dict)}

    # -- more than NASLib tells --------------------------------------------------------------
    def test_accuracy(self, architecture: Architecture) -> float:
        """Accuracy on the test images in percent, where `dataset_api` of this module gives it.

        NASLib's own tables have no such number: what `Metric.TEST_ACCURACY` reads, there and everywhere else in
        NASLib, is the validation accuracy, and is returned then.
        """
        if is_looked_up(self.search_space):
            record = self._query(architecture, Metric.RAW)[RECORD_OF.get(self.dataset, self.dataset)]
            curve = record.get("test_acc1es")
            if curve is not None:
                return number(curve[-1])
        return number(self._query(architecture, Metric.TEST_ACCURACY))

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "dataset": self.dataset,
            "strategy": self.strategy.state_dict(),
            "history": [
                [self.strategy.space.format(cell), value if math.isfinite(value) else None]
                for cell, value in self.history
            ],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`.

        Raises:
            CheckpointError: the state is of another dataset, strategy or search space.
        """
        if state["dataset"] != self.dataset:
            raise CheckpointError(f"this checkpoint is of a search on {state['dataset']!r}, not on {self.dataset!r}")
        self.strategy.load_state_dict(state["strategy"])
        self.history = [
            (self.strategy.space.parse(text), math.nan if value is None else value) for text, value in state["history"]
        ]

    # -- private -----------------------------------------------------------------------------
    def _query(self, architecture: Architecture, metric: Any) -> Any:
        graph = with_architecture(self.search_space, architecture, network=not is_looked_up(self.search_space))
        return graph.query(metric, self.dataset, dataset_api=self.dataset_api)

    def _report_start_over(self) -> None:
        folder = getattr(self.config, "save", None)
        if folder is not None and Path(folder, "errors.json").exists():  # the Trainer writes it after every epoch
            warnings.warn(
                f"{str(folder)!r} holds an earlier search, which this one starts over and overwrites: to go on with "
                "it, pass resume_from=get_last_checkpoint(config) to the Trainer's search; if that is empty, the "
                "earlier one ended before its first checkpoint (config.search.checkpoint_freq)",
                stacklevel=3,
            )


class MetaD2AOptimizer(StrategyOptimizer):
    """MetaD2A as an optimizer of NASLib.

    Args:
        config: as in `StrategyOptimizer`.
        dataset: images of what to search for: anything `MetaD2A.search` takes, and loaders or a `CustomDataset` of
            NASLib (`_naslib_images`). None ranks for the average meta-training task. (`config.dataset` is the table's
            name of the dataset that is looked up.)
        model: a shipped checkpoint, its folder, or a `MetaD2A`. The default has never seen the tables;
            ``"nasbench201"`` has learned from them, and is for searches that really train. For a budget the default
            is the one that knows budgets.
        budget: what networks are trained with, a `Budget` or its settings by name, such as ``{"epochs": 12}``; by
            default `config.search.budget`, where there is one; None is long training.
        **options: as in `MetaD2AStrategy`: `adapt`, limits.
    """

    def __init__(
        self,
        config: Any,
        dataset: Any = None,
        model: str | MetaD2A | None = None,
        budget: AnyBudget = None,
        **options: Any,
    ) -> None:
        require_config(config)
        given = Budget.of(getattr(config.search, "budget", None) if budget is None else budget)
        if model is None:
            model = MODEL if given is None else default_model("nasbench201", budgeted=True)
        super().__init__(config, "metad2a", model=model, budget=given, **options, dataset=dataset)


def require_config(config: Any) -> None:
    """Refuse what is no configuration of NASLib with a `ConfigError`."""
    dataset = getattr(config, "dataset", None)
    if not isinstance(dataset, str) or not hasattr(config, "search"):
        lacks = "search" if isinstance(dataset, str) else "dataset"
        raise ConfigError(
            "config must be a configuration of NASLib, such as naslib.make_config('cifar10'), got "
            f"{type(config).__name__} without {lacks!r}; images are the argument dataset"
        )


class _State(torch.nn.Module):
    """Our state in NASLib's checkpoints, which hold tensors of a module and nothing else: JSON text as bytes.

    Args:
        get: gives the state, in plain JSON values.
        put: takes it back.
    """

    def __init__(self, get: Callable[[], Any], put: Callable[[Any], None]) -> None:
        super().__init__()
        self._get, self._put = get, put

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        text = bytearray(json.dumps(self._get()).encode())
        # The length is in the key, because a checkpointer drops tensors whose shape is not the present one.
        return {f"json {len(text)}": torch.frombuffer(text, dtype=torch.uint8)}

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Take the state back; a checkpoint of another kind of optimizer is a `CheckpointError`."""
        texts = [tensor for key, tensor in state_dict.items() if key.startswith("json ")]
        if len(texts) != 1:
            raise CheckpointError("this checkpoint was written by another optimizer; resume it with that one")
        self._put(json.loads(bytes(texts[0].tolist())))
        return SimpleNamespace(missing_keys=[], unexpected_keys=[])


def number(value: Any) -> float:
    """A metric as a float; NaN for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
