"""Graphs and accuracies between this package and NASLib's NAS-Bench-201 space; what is no cell of it is refused."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.nasbench201.cell import OPS
from metad2a_plugin.utils.checks import spelled

from ._naslib_encodings import SPACE, to_op_indices
from ._naslib_host import NasBench201SearchSpace
from .nas_bench_201 import Benchmark

DATASETS = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16-120": "ImageNet16-120"}
"""NASLib's names of our datasets."""
RECORD_OF = {"cifar10": "cifar10-valid"}
"""Keys of NASLib's records that are not its names of the datasets."""
_RECORDS = {RECORD_OF.get(theirs, theirs): ours for ours, theirs in DATASETS.items()}


# -- graphs ----------------------------------------------------------------------------------------
def to_naslib(architecture: Architecture, *, num_classes: int = 10, in_channels: int = 3) -> Any:
    """The cell as a `NasBench201SearchSpace`, with its network: ``parse()`` and train it, or ``query`` it."""
    indices = to_op_indices(architecture)
    graph = NasBench201SearchSpace(num_classes, in_channels)
    graph.set_op_indices(list(indices))
    return graph


_NO_NETWORK = (
    "a TableSpace is for look-ups and has no network; to_naslib(from_naslib(graph)) gives one, and a search over "
    "NasBench201SearchSpace() ends with one"
)


class TableSpace(NasBench201SearchSpace):
    """NASLib's space for look-ups: the same draws and numbers, but no network is built and copied for each.

    Of a look-up in NASLib, 93% of the time goes into the copy of a network that nobody trains.
    """

    def __init__(self, n_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__(n_classes, in_channels)
        self.instantiate_model = False

    def clone(self) -> TableSpace:
        """A copy with an architecture of its own; the networks' modules, which nothing here uses, are shared."""
        return copy.copy(self)

    def parse(self) -> NoReturn:
        raise ConfigError(_NO_NETWORK)

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ConfigError(_NO_NETWORK)

    def get_nbhd(self, dataset_api: Any = None) -> list[Any]:
        """The neighbours in a random order, as modules that hold them in ``arch``."""
        from torch import nn

        neighbors = []
        indices = self.get_op_indices()
        for edge, current in enumerate(indices):
            for op in range(len(OPS)):
                if op != current:
                    module = nn.Module()
                    module.arch = self.clone()
                    module.arch.set_op_indices([*indices[:edge], op, *indices[edge + 1 :]])
                    neighbors.append(module)
        random.shuffle(neighbors)
        return neighbors


def require_space(search_space: Any) -> None:
    """Refuse what is not NASLib's NAS-Bench-201 with a `ConfigError`."""
    if not isinstance(search_space, NasBench201SearchSpace):
        raise ConfigError(
            f"of NASLib's search spaces this package knows NasBench201SearchSpace, got {type(search_space).__name__}"
        )


def is_looked_up(search_space: Any) -> bool:
    """Whether its `query` is NASLib's look-up in a table, which needs no network."""
    return bool(type(search_space).query is NasBench201SearchSpace.query)


def with_architecture(search_space: Any, architecture: Architecture, *, network: bool) -> Any:
    """A copy of the search space with an architecture; a light one for look-ups where `network` is False."""
    if network:
        graph = search_space.clone()
    else:
        graph = copy.copy(search_space)
        graph.instantiate_model = False
    graph.set_op_indices(list(to_op_indices(architecture)))
    return graph


# -- accuracies ------------------------------------------------------------------------------------
def dataset_api(benchmark: Benchmark, epochs: int = 200) -> dict[str, Mapping[str, Any]]:
    """The dictionary that NASLib's `NasBench201SearchSpace.query` reads, filled from a benchmark when it is asked.

    NASLib reads validation *and* test accuracy from ``eval_acc1es``, and its ``cifar10`` is the training on half of
    the images. What it reports as test accuracy is therefore the validation accuracy. Here ``eval_acc1es`` is the
    validation accuracy, and ``test_acc1es``, which NASLib does not know, the accuracy on the test images. Costs and
    seconds of training that the benchmark has not are NaN.

    Args:
        benchmark: any of `metad2a_plugin.adapters.nas_bench_201`.
        epochs: of the trainings, 200 or 12.

    Raises:
        ConfigError: `epochs` is neither, or, at a query, the benchmark has no such dataset.
    """
    return {"nb201_data": Table(benchmark, epochs)}


def or_nan(ask: Callable[..., float], *arguments: Any) -> float:
    """What the benchmark answers; NaN where it has no such number."""
    try:
        return ask(*arguments)
    except ConfigError:
        return math.nan


class Table(Mapping[str, Mapping[str, Any]]):
    """A record of every cell, by its string; arguments and errors are those of `dataset_api`."""

    def __init__(self, benchmark: Benchmark, epochs: int) -> None:
        if epochs not in (200, 12):
            raise ConfigError(f"the benchmark trained for 200 or 12 epochs, got {epochs!r}")
        self._benchmark, self._epochs = benchmark, epochs
        self._made: dict[str, _Record] = {}

    def __getitem__(self, text: str) -> Mapping[str, Any]:
        if text not in self._made:
            self._made[text] = _Record(self._benchmark, SPACE.parse(text), self._epochs)
        return self._made[text]

    def __iter__(self) -> Iterator[str]:
        return map(SPACE.format, SPACE.enumerate())

    def __len__(self) -> int:
        return SPACE.size


class _Record(dict[str, dict[str, Any]]):
    """Results of one cell, by NASLib's key of the dataset; made when asked for."""

    def __init__(self, benchmark: Benchmark, cell: Architecture, epochs: int) -> None:
        super().__init__()
        self._benchmark, self._cell, self._epochs = benchmark, cell, epochs

    def __missing__(self, key: str) -> dict[str, Any]:
        benchmark, cell, epochs = self._benchmark, self._cell, self._epochs
        dataset = _RECORDS.get(key, spelled(key, benchmark.datasets))
        if dataset not in benchmark.datasets:
            raise ConfigError(f"the benchmark has no dataset {key!r}; it has {', '.join(benchmark.datasets)}")

        def cost(quantity: str) -> float:
            return float(getattr(benchmark.cost(cell, dataset), quantity))

        self[key] = {
            "train_acc1es": _Curve(benchmark, cell, key.lower(), "train", epochs),
            "eval_acc1es": _Curve(benchmark, cell, dataset, "valid", epochs),
            "test_acc1es": _Curve(benchmark, cell, dataset, "test", epochs),
            "train_losses": [np.nan],
            "eval_losses": [np.nan],
            "cost_info": {
                "flops": or_nan(cost, "flops"),
                "params": or_nan(cost, "params"),
                "latency": np.nan,
                "train_time": or_nan(benchmark.train_seconds, cell, dataset, "valid", epochs),
            },
        }
        return self[key]


class _Curve(Sequence[float]):
    """Accuracies by epoch, percent: the last is always known, others where the benchmark has curves."""

    def __init__(self, benchmark: Benchmark, cell: Architecture, dataset: str, split: str, epochs: int) -> None:
        self._benchmark, self._training = benchmark, (cell, dataset, split, epochs)

    def __len__(self) -> int:
        return self._training[-1]

    def __getitem__(self, epoch: Any) -> Any:
        benchmark, (_, dataset, split, _) = self._benchmark, self._training
        if epoch != -1:
            return benchmark.curve(*self._training).tolist()[epoch]
        known = dataset in benchmark.datasets and split in benchmark.splits(dataset)
        return benchmark.accuracy(*self._training) if known else np.nan
