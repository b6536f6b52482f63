"""Run NASLib's Trainer: over a benchmark with any optimizer, or on images with its one-shot optimizers."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from metad2a_plugin.data import ImageDataset, load_dataset
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.registry import available, entry, option_names
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.utils.checks import did_you_mean, integer, spelled

from ._naslib_encodings import SPACE, from_naslib
from ._naslib_host import AttrDict, NasBench201SearchSpace, Trainer, optimizers, set_seed
from ._naslib_images import images_of
from ._naslib_optimizer import MetaD2AOptimizer, StrategyOptimizer
from ._naslib_space import DATASETS, Table, TableSpace, or_nan
from .nas_bench_201 import Benchmark
from .trace import Trace

NASLIB = {
    "rs": "RandomSearch",
    "re": "RegularizedEvolution",
    "ls": "LocalSearch",
    "bananas": "Bananas",
    "npenas": "Npenas",
}
"""NASLib's own optimizers, by the names of its runners."""
ONE_SHOT = {"darts": "DARTSOptimizer", "gdas": "GDASOptimizer", "drnas": "DrNASOptimizer"}
SETTINGS: Mapping[str, Any] = {
    # NASLib's nb201_defaults.yaml
    "sample_size": 10,
    "population_size": 30,
    "num_init": 10,
    "k": 10,
    "num_ensemble": 3,
    "acq_fn_type": "its",
    "acq_fn_optimization": "mutation",
    "encoding_type": "path",
    "num_arches_to_mutate": 2,
    "max_mutations": 1,
    "num_candidates": 100,
    # BANANAS' own predictor: a feed-forward network on the encoding of paths
    "predictor_type": "bananas",
    # the last epoch; the shipped files have 108 and 200, which are beyond the end of 200 epochs or in their middle
    "fidelity": -1,
}
"""Of NASLib's discrete optimizers, under ``search`` of its configuration."""
_WITHOUT_DEFAULT = ("load_labeled", "use_zc_api", "zc", "zc_ensemble", "zc_names", "zc_only")
"""What BANANAS and NPENAS read besides, where it is there."""


def make_config(dataset: str = "cifar10", *, epochs: int = 100, seed: int = 0, save: str = "run", **search: Any) -> Any:
    """A configuration of NASLib, with every key that its Trainer and its discrete optimizers ask for.

    Args:
        dataset: ``cifar10``, ``cifar100`` or ``imagenet16-120``, in any spelling.
        epochs: of the Trainer: queries, for optimizers that look up.
        seed: of everything.
        save: the Trainer's folder, which is made: its checkpoints expect that.
        **search: keys under ``search``, in place of `SETTINGS` and of ``checkpoint_freq``, which is 1: the Trainer
            saves after every epoch (some milliseconds and 25 kB with our optimizers).

    Raises:
        ConfigError: unknown dataset.
    """
    if (ours := spelled(dataset, DATASETS)) not in DATASETS:
        hint = did_you_mean(dataset, DATASETS)
        raise ConfigError(f"NASLib knows the datasets {', '.join(DATASETS)}, got {dataset!r}{hint}")
    for part in ("search", "eval"):
        Path(save, part).mkdir(parents=True, exist_ok=True)
    return AttrDict(
        dataset=DATASETS[ours],
        seed=seed,
        save=save,
        save_arch_weights=False,
        search=AttrDict({**SETTINGS, "epochs": epochs, "seed": seed, "checkpoint_freq": 1} | search),
        evaluation=AttrDict(epochs=1, checkpoint_freq=1),
    )


def search(
    optimizer: str | Callable[[Any], Any] = "metad2a",
    benchmark: Benchmark | None = None,
    dataset: str = "cifar10",
    *,
    epochs: int = 100,
    seed: int = 0,
    images: Any = None,
    benchmark_epochs: int = 200,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Trace:
    """Search a benchmark with NASLib's Trainer.

    Args:
        optimizer: ``metad2a``, a strategy of ours (``regularized-evolution``, ...), one of NASLib's own (``rs``,
            ``re``, ``ls``, ``bananas``, ``npenas``), or a function of the configuration that gives an optimizer.
        benchmark: any of `metad2a_plugin.adapters.nas_bench_201`; by default the compact table, as it finds it.
        dataset: of the benchmark: ``cifar10``, ``cifar100`` or ``imagenet16-120``.
        epochs: queries.
        seed: of the search.
        images: for ``metad2a``, and strategies of plug-ins with the option ``dataset``: a dataset like that of the
            benchmark, see `MetaD2AOptimizer`.
        benchmark_epochs: of the benchmark's trainings, 200 or 12.
        settings: of NASLib's optimizers, in place of those of `SETTINGS`; a function may read any others.
        **options: of `MetaD2AOptimizer` or of the strategy.

    Returns:
        What was looked up. `told` is the validation accuracy; `test` is that of the benchmark, not NASLib's;
        `train_seconds` are NaN where the benchmark does not know them, such as the compact table those of 12 epochs.

    Raises:
        ConfigError: an argument is wrong, or as the strategy says.
        DatasetError: there is no table, or as the strategy says.
    """
    integer("epochs", epochs, 1)
    integer("seed", seed, 0)
    if images is not None:
        _require_images(optimizer)
        options["dataset"] = images
    make = _factory(optimizer, options)
    _check_settings(optimizer, settings or {})
    if benchmark is None:
        from metad2a_plugin.adapters.nas_bench_201 import default_benchmark

        benchmark = default_benchmark()
    with TemporaryDirectory() as folder:
        keys = {"checkpoint_freq": epochs} | dict(settings or {})  # nobody can resume it
        config = make_config(dataset, epochs=epochs, seed=seed, save=folder, **keys)
        set_seed(seed)
        recorder = _Recorder(benchmark, benchmark_epochs)
        begin = time.perf_counter()
        made = make(config)
        made.adapt_search_space(TableSpace(), dataset_api={"nb201_data": recorder})
        setup_seconds = time.perf_counter() - begin
        own_seconds = recorder.watch(made)
        Trainer(made, config, lightweight_output=True).search()
    cells = [SPACE.parse(text) for text in recorder.looked_up]
    ours = spelled(dataset, DATASETS)

    def accuracies(split: str) -> list[float]:
        return [benchmark.accuracy(cell, ours, split, benchmark_epochs) for cell in cells]

    return Trace(
        method=_name(optimizer),
        dataset=ours,
        seed=seed,
        cells=recorder.looked_up,
        told=accuracies("valid"),
        test=accuracies("test"),
        train_seconds=[or_nan(benchmark.train_seconds, cell, ours, "valid", benchmark_epochs) for cell in cells],
        own_seconds=own_seconds,
        setup_seconds=setup_seconds,
    )


def _name(optimizer: str | Callable[[Any], Any]) -> str:
    return optimizer if isinstance(optimizer, str) else getattr(optimizer, "__name__", "optimizer")


def _factory(optimizer: str | Callable[[Any], Any], options: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Makes an optimizer of a configuration."""
    strategies = available("strategies")
    if optimizer == "metad2a":
        return lambda config: MetaD2AOptimizer(config, **options)
    if optimizer in strategies:
        return lambda config: StrategyOptimizer(config, optimizer, **options)
    if options:
        raise ConfigError(f"{', '.join(options)}: only {', '.join(strategies)} have options; NASLib's have settings")
    if callable(optimizer):
        return optimizer
    if optimizer in NASLIB:
        return getattr(optimizers, NASLIB[optimizer])
    raise ConfigError(f"unknown optimizer {optimizer!r}; known are {', '.join((*strategies, *NASLIB))}")


def _require_images(optimizer: str | Callable[[Any], Any]) -> None:
    ours = isinstance(optimizer, str) and optimizer in available("strategies")
    if not ours or not entry("strategies", str(optimizer)).takes("dataset"):
        raise ConfigError(f"images are for 'metad2a'; {_name(optimizer)!r} does not look at any: leave them out")


def _check_settings(optimizer: str | Callable[[Any], Any], settings: Mapping[str, Any]) -> None:
    own = sorted(settings.keys() & {"checkpoint_freq", "dataset", "epochs", "save", "seed"})
    if own:
        raise ConfigError(f"settings cannot have {', '.join(own)}; epochs, seed and dataset are arguments of search")
    if settings and optimizer in available("strategies"):
        raise ConfigError(
            f"settings are for NASLib's optimizers; give the options of {optimizer!r} as arguments: "
            f"{', '.join(f'{name}={value!r}' for name, value in settings.items())}"
        )
    if not callable(optimizer):
        _check_names("settings", settings, (*SETTINGS, *_WITHOUT_DEFAULT))


def _check_names(what: str, given: Collection[str], known: Collection[str]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigError(f"unknown {what}: {', '.join(unknown)}; known are {', '.join(sorted(known))}")


class _Recorder(Table):
    """Remembers what an optimizer looks up while it chooses; NASLib's histories are not complete."""

    def __init__(self, benchmark: Benchmark, epochs: int) -> None:
        super().__init__(benchmark, epochs)
        self._choosing = False
        self.looked_up: list[str] = []

    def __getitem__(self, text: str) -> Mapping[str, Any]:
        if self._choosing:
            self.looked_up.append(text)
        return super().__getitem__(text)

    def watch(self, optimizer: Any) -> list[float]:
        """Seconds of each query, filled while the Trainer runs."""
        seconds: list[float] = []
        new_epoch = optimizer.new_epoch

        def watched(epoch: int) -> None:
            self._choosing, before, begin = True, len(self.looked_up), time.perf_counter()
            new_epoch(epoch)
            self._choosing, spent = False, time.perf_counter() - begin
            queries = len(self.looked_up) - before
            seconds.extend([spent / queries] * queries if queries else [])

        optimizer.new_epoch = watched
        return seconds


# -- one-shot --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class OneShotResult:
    """What a one-shot search found.

    Attributes:
        architecture: the final cell.
        seconds: that the search took.
        valid: accuracy of the supernet on its validation half in the last epoch, percent.
    """

    architecture: Architecture
    seconds: float
    valid: float


def search_one_shot(
    images: Any,
    optimizer: str = "darts",
    *,
    epochs: int = 10,
    seed: int = 0,
    batch_size: int = 32,
    input_size: int = 16,
    **settings: Any,
) -> OneShotResult:
    """Search with a one-shot optimizer of NASLib on images, without a benchmark and without a download.

    Half of the images train the weights of the supernet, the other half its architecture, as these methods do.

    Args:
        images: an `ImageDataset`, or anything else that `load_dataset` takes.
        optimizer: ``darts``, ``gdas`` or ``drnas``.
        epochs: passes over the training half.
        seed: of the weights, the halves and the batches.
        batch_size: images of a step; at most half of the images, since what is left of a pass is not used.
        input_size: side of the images, in pixels.
        **settings: arguments of NASLib's optimizer, and ``learning_rate_min`` of its schedule.

    Raises:
        ConfigError: an argument is wrong.
        DatasetError: the images cannot be read.
    """
    if optimizer not in ONE_SHOT:
        raise ConfigError(f"unknown one-shot optimizer {optimizer!r}; known are {', '.join(ONE_SHOT)}")
    for name, value in {"epochs": epochs, "batch_size": batch_size, "input_size": input_size}.items():
        integer(name, value, 1)
    kind = getattr(optimizers, ONE_SHOT[optimizer])
    _check_names(f"settings of {optimizer!r}", settings, {*option_names(kind), "learning_rate_min"} - {"epochs"})
    images = load_dataset(images_of(images))
    if batch_size > len(images) // 2:
        raise ConfigError(
            f"batch_size is {batch_size}, but half of the {len(images)} images are {len(images) // 2}: no batch would "
            "be full, and nothing trained; give a smaller one, or more images"
        )
    set_seed(seed)
    with TemporaryDirectory() as folder:
        keys = {"checkpoint_freq": epochs, "learning_rate_min": 0.0} | settings  # nobody can resume it
        config = make_config(epochs=epochs, seed=seed, save=folder, **keys)
        made = kind(**config.search)
        # The Trainer counts top-5 accuracy, and fails for fewer classes.
        made.adapt_search_space(NasBench201SearchSpace(max(5, images.num_classes)), dataset=config.dataset)
        trainer = _OneShotTrainer(made, config, _halves(images, batch_size, input_size, seed))
        begin = time.perf_counter()
        trainer.search()
        seconds = time.perf_counter() - begin
    return OneShotResult(from_naslib(made.get_final_architecture()), seconds, trainer.search_trajectory.valid_acc[-1])


class _OneShotTrainer(Trainer):
    """NASLib's Trainer with loaders that are given, where it would download its own."""

    def __init__(self, optimizer: Any, config: Any, loaders: tuple[Any, Any]) -> None:
        super().__init__(optimizer, config, lightweight_output=True)
        self._loaders = loaders

    def build_search_dataloaders(self, config: Any) -> tuple[Any, Any, None]:
        return *self._loaders, None


def _halves(images: ImageDataset, batch_size: int, input_size: int, seed: int) -> tuple[Any, Any]:
    """Loaders of normalised images and their labels."""
    from torch.utils.data import DataLoader, TensorDataset, random_split

    pixels = images.images(range(len(images)), input_size).float() / 255
    mean, std = (getattr(pixels, name)((0, 2, 3), keepdim=True) for name in ("mean", "std"))
    everything = TensorDataset((pixels - mean) / std, torch.from_numpy(images.labels))
    halves = random_split(everything, (0.5, 0.5), torch.Generator().manual_seed(seed))
    first, second = (DataLoader(half, batch_size, shuffle=True, drop_last=True) for half in halves)
    return first, second
