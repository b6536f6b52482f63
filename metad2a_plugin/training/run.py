"""Training of architectures on a user's dataset, with the recipe of NAS-Bench-201 scaled to fewer epochs.

The validation part, the normalisation and the order of work are the same for every architecture, so the
accuracies of one `TrainConfig` can be compared; they are those of the last epoch, never of the best one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch

from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.spaces.base import Architecture, Notation, SearchSpace
from metad2a_plugin.training.classifier import ImageClassifier
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.files import export_network, load_network
from metad2a_plugin.training.fit import Callback, Epoch, Fit, Report, Training, checked_callbacks, reporter
from metad2a_plugin.training.images import TrainingData, check_split, prepare
from metad2a_plugin.training.result import FINISHED, TrainResult, wilson_interval
from metad2a_plugin.training.starting import check_weights, new_classifier, weights_digest
from metad2a_plugin.utils.files import write_atomically
from metad2a_plugin.utils.kept import digest, unreadable
from metad2a_plugin.utils.locks import alone_in, remove_lock
from metad2a_plugin.utils.progress import Progress, stages
from metad2a_plugin.utils.schema import read_json
from metad2a_plugin.utils.torch_device import usable

_FORMAT = 1

Stop = Callable[[Sequence[float]], bool]
"""Whether to leave the other epochs out, given the validation accuracy in percent after each so far."""


def train_architecture(
    space: SearchSpace,
    architecture: Notation,
    dataset: ImageDataset | TrainingData,
    config: TrainConfig | None = None,
    *,
    run_dir: str | os.PathLike[str] | None = None,
    progress: bool | Progress = True,
    stop: Stop = lambda curve: False,
    callbacks: Iterable[Callback] = (),
) -> TrainResult:
    """Train one architecture on the training part of a dataset and validate it on the rest.

    The same arguments give the same result on the CPU (with the same number of threads), also when a run with
    `run_dir` was interrupted in between.

    Args:
        space: the architecture's search space.
        architecture: what to train, as `SearchSpace.parse` reads it.
        dataset: what to train it on; `prepare` it first to train several with one decoding.
        config: None takes the defaults.
        run_dir: after each epoch the state is saved in a folder in it that is named by architecture, dataset
            and settings; an interrupted run goes on from there, a finished one is not repeated.
        progress: whether to say on stderr how far it is, see `utils.progress.stages`; or what to tell it.
        stop: asked before each epoch but the first. A run that was stopped stays in `run_dir` as one that was
            interrupted.
        callbacks: told after every epoch that is trained, once it is saved, see `Callback`.

    Raises:
        ArchitectureError: it is none of the space.
        ConfigError: the loss is not finite, an option does not fit the space, `run_dir` cannot be written, or another
            process is training the same in it.
        DatasetError: see `prepare`.
        CheckpointError: a file in `run_dir` is damaged.
    """
    [result] = train_many(
        space, [architecture], dataset, config, run_dir, progress=progress, stop=stop, callbacks=callbacks
    )
    return result


def train_many(
    space: SearchSpace,
    architectures: Sequence[Notation],
    dataset: ImageDataset | TrainingData,
    config: TrainConfig | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    *,
    progress: bool | Progress = True,
    stop: Stop = lambda curve: False,
    callbacks: Iterable[Callback] = (),
) -> list[TrainResult]:
    """`train_architecture` for several, on the same split; results in the order given."""
    config = config or TrainConfig()
    device, callbacks = usable(config.device), checked_callbacks(callbacks)
    space.check_options(config.options)
    read = [space.parse(architecture) for architecture in architectures]  # fail before hours of training, not after
    if config.weights is not None:
        check_weights(space, config.weights, config.options)
    data = dataset if isinstance(dataset, TrainingData) else prepare(dataset, config, stream=True)
    check_split(data, config)
    config = config.resolved(len(data.labels))
    with stages(progress) if isinstance(progress, bool) else nullcontext(progress) as shown:
        return [
            _Run(space, architecture, data, config, device, run_dir).result(
                _report(shown, f"network {number}/{len(read)}, epoch", config.epochs), stop, callbacks
            )
            for number, architecture in enumerate(read, 1)
        ]


def _report(progress: Progress, stage: str, epochs: int) -> Report:
    return lambda epoch: progress(
        stage, epoch.epoch, epochs, f"loss {epoch.loss:.3f}, validation accuracy {epoch.accuracy:.1f}%"
    )


class _Run(Fit):
    """One architecture in training, with its files."""

    network: ImageClassifier

    def __init__(
        self,
        space: SearchSpace,
        architecture: Architecture,
        data: TrainingData,
        config: TrainConfig,
        device: torch.device,
        run_dir: str | os.PathLike[str] | None,
    ) -> None:
        self.space, self.config, self.data, text = space, config, data, space.format(architecture)
        self._key = self._digest(text)
        self.training = Training(f"{space.name}-{self.key}", text, config)
        self.dir = None if run_dir is None else Path(run_dir) / self.training.name
        trained = self.dir is not None and any((self.dir / name).exists() for name in ("result.json", self.FILES[0]))
        network = new_classifier(space, architecture, data, config, trained=trained)
        super().__init__(network, data, config, device, text)

    def result(self, report: Report, stop: Stop, callbacks: Sequence[Callback]) -> TrainResult:
        """Train what is left to train, unless it is stopped."""
        if not self._is_finished():
            with alone_in(self.dir):
                if not self._is_finished():  # by a process that was writing just now
                    return self._trained(report, stop, reporter(callbacks, self.training))
        assert self.dir is not None  # or nothing is finished
        self._load_finished(self.dir)
        report(self.history[-1])
        return self._result()

    def _is_finished(self) -> bool:
        return self.dir is not None and (self.dir / "result.json").exists()

    def _trained(self, report: Report, stop: Stop, tell: Report) -> TrainResult:
        def told(epoch: Epoch) -> None:
            report(epoch)
            tell(epoch)

        self.complete(told, self.dir, lambda history: stop([epoch.accuracy for epoch in history]))
        result = self._result()
        if self.dir and not result.stopped:
            export_network(self.dir / "network.safetensors", result.network)
            # Last of all: its presence says that the run is complete.
            write_atomically(self.dir / "result.json", json.dumps(result.to_dict(), indent=1).encode())
            (self.dir / self.FILES[0]).unlink(missing_ok=True)
            remove_lock(self.dir)
        return result

    def _result(self) -> TrainResult:
        labels, cost = self.data.validation_labels, self.network.cost
        majority = self.data.labels.bincount().argmax()
        right = round(self.history[-1].accuracy / 100 * len(labels))
        low, high = wilson_interval(right, len(labels))
        return TrainResult(
            architecture=self.network.architecture,
            architecture_str=self.space.format(self.network.architecture),
            history=tuple(self.history),
            interval=(100 * low, 100 * high),
            majority_accuracy=100 * (labels == majority).double().mean().item(),
            chance_accuracy=100 / len(self.data.class_names),
            train_images=len(self.data.labels),
            validation_images=len(labels),
            params=cost.params,
            flops=cost.flops,
            seed=self.config.seed,
            split_seed=self.config.split_seed,
            device=str(self.device),
            network=self.network.eval().cpu(),
            run_dir=self.dir,
            stopped=not self.finished,
        )

    # -- files -----------------------------------------------------------------------------------
    @property
    def key(self) -> str:
        return self._key

    def _digest(self, architecture: str) -> str:
        config = {name: value for name, value in self.config.to_dict().items() if name != "device"}
        if self.config.weights is not None:
            config["weights"] = weights_digest(self.space, self.config.weights)
        return digest((_FORMAT, architecture, config, self.data.fingerprint))

    def _load_finished(self, folder: Path) -> None:
        path = folder / "result.json"
        try:
            found = FINISHED(read_json(path), "")
            self.history, self.device = ([Epoch(**line) for line in found["history"]], torch.device(found["device"]))
        except (OSError, ValueError, RuntimeError) as error:
            raise unreadable(path, error, self.RESTART) from error
        if len(self.history) != self.config.epochs:
            wrong = ValueError(f"{len(self.history)} epochs, expected {self.config.epochs}")
            raise unreadable(path, wrong, self.RESTART)
        network = load_network(folder / "network.safetensors", self.space)
        assert isinstance(network, ImageClassifier)  # of a space
        self.network = network
