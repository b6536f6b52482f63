"""What every source of NAS-Bench-201 results answers, and what the published splits mean."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from metad2a_plugin.errors import ArchitectureError, ConfigError
from metad2a_plugin.spaces.base import Architecture, Cost
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.utils.checks import integer, one_of, spelled
from metad2a_plugin.utils.lazy import torch

if TYPE_CHECKING:
    Cell = Architecture | int
    Cells = Sequence[Architecture] | Sequence[int] | np.ndarray | torch.Tensor


class Training(NamedTuple):
    """One way in which the benchmark trained every cell; `dataset` is the published key."""

    epochs: int
    dataset: str


_WITH_BOTH = {"train": "train", "valid": "x-valid", "test": "x-test", "valtest": "ori-test"}
SPLITS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "cifar10": {"train": ("cifar10", "train"), "valid": ("cifar10-valid", "x-valid"), "test": ("cifar10", "ori-test")},
    "cifar10-valid": {
        "train": ("cifar10-valid", "train"),
        "valid": ("cifar10-valid", "x-valid"),
        "test": ("cifar10-valid", "ori-test"),
    },
    "cifar100": {split: ("cifar100", name) for split, name in _WITH_BOTH.items()},
    "imagenet16-120": {split: ("ImageNet16-120", name) for split, name in _WITH_BOTH.items()},
}
"""By our names of dataset and split: the published key of the training, and of the images it was measured on."""
EPOCHS = (12, 200)
"""The two schedules; each lets the learning rate fall to zero, so the shorter is no part of the longer."""


class Benchmark(ABC):
    """What the cells of NAS-Bench-201 reached when they were trained; `open_benchmark` finds the class for a source.

    A cell is given as an `Architecture` or as its official index. Many cells at once are a sequence of either,
    or their encoding ``[n, 8]``; the answer is then an array ``[n]``. Every question raises `ArchitectureError` for
    what is no cell of NAS-Bench-201, and `ConfigError` where the source has no such dataset, split, number of epochs,
    seed or cell.

    Splits are the published ones (Dong and Yang, ICLR 2020):

    - ``cifar10``: ``train`` and ``test`` are of a training on all 50,000 training images. ``valid`` is of another
      training, on 25,000 of them, and measured on the other 25,000.
    - ``cifar10-valid``: that other training on 25,000 images; its ``valid`` is the same number as above, and its
      ``test`` is on the same test images after seeing half as many.
    - ``cifar100``, ``imagenet16-120``: one training on all training images; ``valid`` and ``test`` are two halves of
      the test images (ImageNet's: of its validation images), ``valtest`` is both halves together.

    Args:
        source: what answers, for messages.
        splits: the splits that the source has, by dataset.
    """

    space = NASBench201()

    def __init__(self, source: str, splits: Mapping[str, Iterable[str]] = SPLITS) -> None:
        self.source = source
        self._splits = {dataset: tuple(names) for dataset, names in splits.items()}

    # -- what there is -----------------------------------------------------------------------
    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of the datasets."""
        return tuple(self._splits)

    def splits(self, dataset: str) -> tuple[str, ...]:
        """Names of a dataset's splits."""
        return self._splits[self.dataset(dataset)]

    def dataset(self, name: str) -> str:
        """The one of `datasets` that a name is of, in any of its spellings, such as ``ImageNet16-120`` or ``CIFAR-10``.

        Raises:
            ConfigError: it is none of them; offers the nearest.
        """
        return one_of("dataset", spelled(name, self._splits), self._splits)

    @property
    def indices(self) -> np.ndarray:
        """Official indices of the cells that the source has, ascending, int64 ``[n]``; all 15,625 of a complete one."""
        return np.arange(self.space.size)

    def seeds(
        self, cells: Cell | Cells, dataset: str = "cifar10", split: str = "test", epochs: int = 200
    ) -> tuple[int, ...]:
        """Seeds with which each of the cells was trained, ascending; none where only means are known."""
        training, quantity = self._locate(dataset, split, epochs)
        index = np.atleast_1d(self.index_of(cells))
        seeds = self._seeds(index, training)
        return tuple(s for s in seeds if not np.isnan(self._values(index, training, quantity, s)).any())

    # -- of the cells asked for --------------------------------------------------------------
    @overload
    def accuracy(
        self, cells: Cell, dataset: str = ..., split: str = ..., epochs: int = ..., seed: int | None = ...
    ) -> float: ...
    @overload
    def accuracy(
        self, cells: Cells, dataset: str = ..., split: str = ..., epochs: int = ..., seed: int | None = ...
    ) -> np.ndarray: ...
    def accuracy(
        self,
        cells: Cell | Cells,
        dataset: str = "cifar10",
        split: str = "test",
        epochs: int = 200,
        seed: int | None = None,
    ) -> float | np.ndarray:
        """Top-1 accuracy in percent after the last epoch, float64 ``[n]`` of many cells.

        Args:
            cells: one cell, or many.
            dataset: one of `datasets`, in any spelling.
            split: one of `splits`; on CIFAR-10 ``valid`` and ``test`` are of different trainings.
            epochs: 200, or 12 for the short schedule.
            seed: one of `seeds`; None for the mean over them.
        """
        training, quantity = self._locate(dataset, split, epochs)
        return self._answer(cells, training, quantity, seed)

    def accuracies(
        self, dataset: str = "cifar10", split: str = "test", epochs: int = 200, seed: int | None = None
    ) -> np.ndarray:
        """`accuracy` of every cell, float64 ``[15625]``, read-only."""
        values = self.accuracy(np.arange(self.space.size), dataset, split, epochs, seed)
        values.flags.writeable = False
        return values

    def curve(
        self, cell: Cell, dataset: str = "cifar10", split: str = "test", epochs: int = 200, seed: int | None = None
    ) -> np.ndarray:
        """Accuracy in percent after each epoch, float64 ``[epochs]``; arguments are those of `accuracy`.

        After 200 epochs of training, CIFAR-100 and ImageNet16-120 have curves of ``train`` and ``valtest`` only:
        the halves were measured once, at the end. A curve that the source has not is a `ConfigError` too.
        """
        training, quantity = self._locate(dataset, split, epochs)
        self._answer(cell, training, quantity, seed)
        found = self._curve(self.index_of(cell), training, quantity, seed)
        if found is None:
            raise ConfigError(
                f"{self.source} has no {split} curve of {epochs} epochs on {dataset}, only the accuracy at the end"
            )
        return found

    @overload
    def train_seconds(
        self, cells: Cell, dataset: str = ..., split: str = ..., epochs: int = ..., seed: int | None = ...
    ) -> float: ...
    @overload
    def train_seconds(
        self, cells: Cells, dataset: str = ..., split: str = ..., epochs: int = ..., seed: int | None = ...
    ) -> np.ndarray: ...
    def train_seconds(
        self,
        cells: Cell | Cells,
        dataset: str = "cifar10",
        split: str = "valid",
        epochs: int = 200,
        seed: int | None = None,
    ) -> float | np.ndarray:
        """Seconds that the benchmark's training took on its GPU, without evaluation; float64 ``[n]`` of many cells.

        Arguments are those of `accuracy`: the training is the one whose accuracy on the split would be asked for. On
        CIFAR-10, ``valid`` is the training on 25,000 images, ``test`` and ``train`` the one on 50,000, which takes
        twice as long.
        """
        training, _ = self._locate(dataset, split, epochs)
        return self._answer(cells, training, "seconds", seed)

    def cost(self, cell: Cell, dataset: str = "cifar10") -> Cost:
        """Published parameters and multiply-accumulates of the dataset's network, in millions."""
        official, _ = SPLITS[self.dataset(dataset)]["train"]
        index = self.index_of(cell)
        params, flops = (self._cost(index, official, name) for name in ("params", "flops"))
        if math.isnan(params) or math.isnan(flops):
            raise self._missing(index, Training(EPOCHS[-1], official), "cost", None)
        return Cost(params, flops)

    @overload
    def index_of(self, cells: Cell) -> int: ...
    @overload
    def index_of(self, cells: Cells) -> np.ndarray: ...
    def index_of(self, cells: Cell | Cells) -> int | np.ndarray:
        """Official index of a cell, or int64 ``[n]`` of many."""
        if isinstance(cells, Architecture):
            return self.space.index(cells)
        if isinstance(cells, (int, np.integer)) and not isinstance(cells, bool):
            return int(self._in_range(np.array([cells]))[0])
        if hasattr(cells, "ndim"):
            array = np.asarray(cells)
            if array.ndim == 2:
                decoded = self.space.decode(torch.as_tensor(array))
                return self._in_range(np.array([self.space.index(a) for a in decoded]))
            return self._in_range(array)
        if isinstance(cells, (list, tuple)):
            return self._in_range(np.array([self.index_of(cell) for cell in cells], dtype=np.int64))
        raise ArchitectureError(
            f"expected an Architecture, an official index, or many of them, got {cells!r}; read strings with "
            "NASBench201().parse()"
        )

    # -- of each source ----------------------------------------------------------------------
    @abstractmethod
    def _values(self, index: np.ndarray, training: Training, quantity: str, seed: int | None) -> np.ndarray:
        """A quantity of the cells, float64 ``[n]``, NaN where there is none.

        Args:
            index: int64 ``[n]``.
            training: how they were trained.
            quantity: ``train``, ``x-valid``, ``x-test`` or ``ori-test`` (percent), or ``seconds``.
            seed: None for the mean over seeds.
        """

    def _seeds(self, index: np.ndarray, training: Training) -> tuple[int, ...]:
        """Seeds that some of the cells may have, ascending."""
        return ()

    def _curve(self, index: int, training: Training, quantity: str, seed: int | None) -> np.ndarray | None:
        return None

    @abstractmethod
    def _cost(self, index: int, dataset: str, quantity: str) -> float:
        """``params`` or ``flops`` of a published dataset's network, in millions; NaN where there is none."""

    # -- private -----------------------------------------------------------------------------
    def _locate(self, dataset: str, split: str, epochs: int) -> tuple[Training, str]:
        one_of("split", split, self.splits(dataset))
        if epochs not in EPOCHS:
            raise ConfigError(f"the benchmark trained for 200 or 12 epochs, got {epochs!r}")
        official, quantity = SPLITS[self.dataset(dataset)][split]
        return Training(epochs, official), quantity

    def _answer(self, cells: Cell | Cells, training: Training, quantity: str, seed: int | None) -> Any:
        if seed is not None:
            integer("seed", seed, 0)
        index = self.index_of(cells)
        many = np.atleast_1d(index)
        values = self._values(many, training, quantity, seed)
        missing = many[np.isnan(values)]
        if len(missing):
            raise self._missing(int(missing[0]), training, quantity, seed)
        return values if isinstance(index, np.ndarray) else float(values[0])

    def _missing(self, cell: int, training: Training, quantity: str, seed: int | None) -> ConfigError:
        indices = self.indices
        if cell not in indices:
            return ConfigError(
                f"{self.source} has {len(indices):,} of the {self.space.size:,} cells; cell {cell} is none of them"
            )
        one = np.array([cell])
        trained = f"the training of cell {cell} on {training.dataset} for {training.epochs} epochs"
        if seed is not None:
            known = [s for s in self._seeds(one, training) if not np.isnan(self._values(one, training, quantity, s))[0]]
            if seed not in known:
                exist = f"its seeds are {', '.join(map(str, known))}" if known else "only means over seeds are known"
                return ConfigError(f"{self.source} has no seed {seed!r} of {trained}; {exist}")
        return ConfigError(f"{self.source} has no {quantity} of {trained}")

    def _in_range(self, index: np.ndarray) -> np.ndarray:
        if index.ndim != 1 or not (np.issubdtype(index.dtype, np.integer) or len(index) == 0):
            raise ArchitectureError(
                f"expected integer indices [n] or encoded cells [n, {self.space.num_vertices}], "
                f"got {index.dtype} of shape {list(index.shape)}"
            )
        wrong = (index < 0) | (index >= self.space.size)
        if wrong.any():
            raise ArchitectureError(f"indices run from 0 to {self.space.size - 1}, got {index[wrong][0]}")
        return index.astype(np.int64)
