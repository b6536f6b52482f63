"""`auto`: from images to a trained network, within a time.

References first: the most frequent class, and a linear classifier of the encoder's features. Then contenders train in
rounds (`schedule`), those that the predictor of budgets proposes for the time there is, with and without soft labels,
and the encoder itself. The network of the highest validation accuracy is what comes out, whichever way it was made; it
is measured on the test part, by which nothing was chosen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from metad2a_plugin.auto.config import AutoConfig
from metad2a_plugin.auto.contenders import CellContender, Contender, EncoderContender
from metad2a_plugin.auto.images import Images
from metad2a_plugin.auto.journal import Journal, Trained
from metad2a_plugin.auto.result import AutoResult, Reference, measured
from metad2a_plugin.auto.schedule import best, epochs_within, rounds
from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.data import load_dataset
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.budget import default_model
from metad2a_plugin.plugins.registry import DEFAULT_SPACE
from metad2a_plugin.search.designs import Design, find_designs
from metad2a_plugin.search.metad2a import MetaD2A
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.training.classifier import Classifier
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.encoder_network import EncoderClassifier
from metad2a_plugin.training.files import export_network, load_network
from metad2a_plugin.training.fit import Epoch, Fit
from metad2a_plugin.training.images import TrainingData
from metad2a_plugin.training.speed import measure_speed
from metad2a_plugin.utils.kept import digest
from metad2a_plugin.utils.progress import Progress
from metad2a_plugin.utils.torch_device import usable

_RESERVE = 0.04
"""Share of the time for what comes after the last training."""
_MOST_EPOCHS = 400
_DESIGNS = 3
_FINE_TUNING: dict[str, Any] = {"lr": 0.01, "batch_size": 32, "warmup": 0.1}


def auto(
    dataset: Any,
    out: str | os.PathLike[str],
    config: AutoConfig,
    *,
    limits: Mapping[str, Any] | None = None,
    model: str | None = None,
    progress: Progress = lambda stage, done, total, note: None,
) -> AutoResult:
    """The best network for a dataset that can be had within a time; the same call goes on after an interruption.

    Args:
        dataset: anything that `load_dataset` reads.
        out: folder of the run: ``network.safetensors``, ``auto.json`` and the trainings.
        config: the time, and further settings.
        limits: as `Limits` takes them: ``max_params``, ``max_flops``, ``max_latency``, ...
        model: a checkpoint that knows budgets; None is the shipped one.
        progress: see `Progress`.

    Raises:
        ConfigError: an argument is out of range, or nothing fits in the time within the limits.
        DatasetError: the dataset cannot be used.
        CheckpointError: `out` holds the run of other settings or images, or a file in it is damaged.
    """
    searcher = MetaD2A.from_pretrained(model or default_model(DEFAULT_SPACE, True))
    bounds = Limits.of(searcher.space, limits or {})
    images = load_dataset(dataset)
    folder = Path(out)
    settings = config.to_dict() | {
        "limits": json.loads(json.dumps(dict(limits or {}), default=str)),
        "model": searcher.checkpoint.name,
        "images": images.content_hash,
    }
    run = _Run(searcher, bounds, Images(images, config), config, Journal(folder, settings), progress)
    return run.result()


class _Run:
    def __init__(
        self,
        searcher: MetaD2A,
        limits: Limits,
        images: Images,
        config: AutoConfig,
        journal: Journal,
        progress: Progress,
    ) -> None:
        self.searcher, self.limits, self.images, self.config = searcher, limits, images, config
        self.journal, self.progress = journal, progress
        self.device = usable(config.device)

    def result(self) -> AutoResult:
        references = self.references()
        contenders = {one.name: one for one in self.contenders()}
        epoch = self.journal.decide("epoch_seconds", lambda: {n: self._epoch_seconds(c) for n, c in contenders.items()})
        names = list(contenders)
        for number, one in enumerate(self._rounds(len(names)), 1):
            names = self._round(number, one["seconds"], names[: one["contenders"]], contenders, epoch)
        found = {trained.folder: trained.accuracy for trained in self.journal.trained}
        # A reference that nothing beats is what comes out.
        head = next((r for r in references if r.network is not None and self._within(r.network)), None)
        classifier: Classifier | None = None if head is None else head.network
        accuracy, source = (-1.0, "") if head is None else (head.validation, head.name)
        for trained in self.journal.trained:
            if found[trained.folder] > accuracy:
                accuracy, source = trained.accuracy, trained.folder
                classifier = load_network(self.journal.folder / trained.folder / "network.safetensors")
        if classifier is None:
            raise ConfigError("nothing fits in the time within the limits; give more of either")
        export_network(self.journal.folder / "network.safetensors", classifier)
        pixels, labels = self.images.test(classifier.input_size)
        answers = measured(classifier, pixels, labels)
        return AutoResult(
            network=classifier,
            images=self.images.dataset,
            tested=self.images.tested,
            source=source,
            validation=accuracy,
            validation_images=len(self.images.at(classifier.input_size).validation_labels),
            test=answers,
            references=tuple(references),
            contenders=contenders,
            costs={name: contender.classifier(self.images).cost for name, contender in contenders.items()},
            trained=tuple(self.journal.trained),
            seconds=self.journal.elapsed,
            folder=self.journal.folder,
        )

    # -- references ------------------------------------------------------------------------------
    def references(self) -> list[Reference]:
        """What any network must beat."""
        images, encoder = self.images, self.images.encoder
        data = images.at(encoder.size)
        pixels, labels = images.test(encoder.size)
        common = data.labels.bincount().argmax()
        frequent = [100 * (part == common).double().mean().item() for part in (data.validation_labels, labels)]
        network = EncoderClassifier(self.config.encoder, data.class_names, head=images.head).eval()
        told = [
            measured(network, *part).accuracy
            for part in ((data.validation_images, data.validation_labels), (pixels, labels))
        ]
        return [
            Reference("most frequent class", frequent[0], frequent[1], None),
            Reference("linear classifier of the encoder's features", told[0], told[1], network),
        ]

    # -- contenders ------------------------------------------------------------------------------
    def contenders(self) -> list[Contender]:
        """What trains, the most promising first."""
        space, config = self.searcher.space, self.config
        found: list[Contender] = []
        tuned = TrainConfig(
            flip=config.flip,
            input_size=self.images.encoder.size,
            validation=config.validation,
            split_seed=config.seed,
            seed=config.seed,
            device=config.device,
            **_FINE_TUNING,
        )
        encoder = EncoderContender(tuned)
        if self._within(encoder.classifier(self.images)):
            found.append(encoder)
        for number, plain in enumerate(self.journal.decide("designs", self._designs), 1):
            design = _design(plain, space)
            trained_with = self._training(design)
            soft = CellContender(space, design, number, True, trained_with)
            found += [soft, replace(soft, soft=False)] if number == 1 else [soft]
        return found

    def _designs(self) -> list[dict[str, Any]]:
        """The best of different sizes, for the time of the last round."""
        last = rounds(self._left(), 6)[-1]
        self.progress("designs", 0, 1, "")
        try:
            found = find_designs(
                self.searcher,
                self.images.known,
                last.seconds / 60,
                measure_speed(self.searcher.space, self.config.device),
                limits=self.limits,
                flip=self.config.flip,
                top=30,
                seed=self.config.seed,
            ).designs
        except ConfigError:
            # No training fits; then there are the references, or an error that says so.
            found = ()
        different: dict[Any, Design] = {}
        for design in found:
            different.setdefault((design.budget.input_size, tuple(design.budget.options.items())), design)
        return [design.to_dict() for design in list(different.values())[:_DESIGNS]]

    def _training(self, design: Design) -> TrainConfig:
        config, budget = self.config, design.budget
        return TrainConfig(
            batch_size=budget.batch_size,
            lr=budget.lr,
            flip=config.flip,
            input_size=budget.input_size,
            options=budget.options,
            validation=config.validation,
            split_seed=config.seed,
            seed=config.seed,
            device=config.device,
        )

    def _within(self, network: Classifier) -> bool:
        """Whether costs keep to the limits; only those on counts are known of any network."""
        limits, cost = self.limits, network.cost
        return (limits.max_params is None or cost.params <= limits.max_params) and (
            limits.max_flops is None or cost.flops <= limits.max_flops
        ) and not limits.max_latency

    # -- rounds ----------------------------------------------------------------------------------
    def _left(self) -> float:
        """Seconds for trainings."""
        return self.config.seconds * (1 - _RESERVE) - self.journal.elapsed

    def _rounds(self, contenders: int) -> Sequence[Mapping[str, Any]]:
        return self.journal.decide("rounds", lambda: [vars(one) for one in rounds(self._left(), contenders)])

    def _round(
        self,
        number: int,
        seconds: float,
        names: list[str],
        contenders: Mapping[str, Contender],
        epoch: Mapping[str, float],
    ) -> list[str]:
        """Names of those that took part, best first."""
        last = len(names) == 1
        for name in names:
            known = [t.seconds / t.epochs for t in self.journal.trained if t.contender == name]
            each = known[-1] if known else epoch[name]
            within = partial(epochs_within, self._left() if last else seconds, each, _MOST_EPOCHS)
            count = self.journal.decide(f"epochs of {name} in round {number}", within)
            if self.journal.find(name, number) is None:
                self._train(contenders[name], number, count)
        accuracies = {t.contender: t.accuracy for t in self.journal.trained if t.round == number}
        costs = {name: contenders[name].classifier(self.images).cost.flops for name in accuracies}
        return best(accuracies, costs, len(accuracies))

    def _train(self, contender: Contender, number: int, epochs: int) -> None:
        data = contender.data(self.images)
        fit = _Fit(contender, data, self.images, epochs, self.device)
        stage, folder = f"round {number}, {contender.title}", self.journal.folder / f"round-{number}" / contender.name

        def report(epoch: Epoch) -> None:
            self.journal.save()
            self.progress(stage, epoch.epoch, epochs, f"validation accuracy {epoch.accuracy:.1f}%")

        fit.complete(report, folder)
        network = fit.network.eval().cpu()
        export_network(folder / "network.safetensors", network)
        curve = tuple(epoch.accuracy for epoch in fit.history)
        self.journal.add(Trained(contender.name, number, curve, sum(epoch.seconds for epoch in fit.history)))
        (folder / fit.FILES[0]).unlink(missing_ok=True)

    def _epoch_seconds(self, contender: Contender) -> float:
        """Of an epoch, measured on a few batches."""
        data = contender.data(self.images)
        batch = contender.config.batch_size
        few = min(len(data.labels), 4 * batch)
        part = replace(
            data,
            images=data.images[:few],
            labels=data.labels[:few],
            soft=None if data.soft is None else replace(data.soft, logits=data.soft.logits[:few]),
            validation_images=data.validation_images[:few],
            validation_labels=data.validation_labels[:few],
        )
        fit = _Fit(contender, part, self.images, 2, self.device)
        fit.step()
        seconds = fit.step().seconds
        share = (len(data.labels) + len(data.validation_labels) / 3) / (few + len(part.validation_labels) / 3)
        return seconds * share


class _Fit(Fit):
    """A contender in training."""

    network: Classifier

    def __init__(
        self, contender: Contender, data: TrainingData, images: Images, epochs: int, device: torch.device
    ) -> None:
        config = replace(contender.config, epochs=epochs)
        super().__init__(contender.classifier(images), data, config, device, contender.title)
        self.contender = contender

    @property
    def key(self) -> str:
        return digest((self.contender.to_dict(), self.config.to_dict(), self.data.fingerprint))


def _design(plain: Mapping[str, Any], space: SearchSpace) -> Design:
    """Inverse of `Design.to_dict`."""
    from metad2a_plugin.plugins.budget import Budget

    text = plain["architecture"]
    interval = plain["interval"]
    return Design(
        **{
            **plain,
            "architecture": space.parse(text),
            "architecture_str": text,
            "budget": Budget.of(plain["budget"]),
            "interval": None if interval is None else tuple(interval),
        }
    )
