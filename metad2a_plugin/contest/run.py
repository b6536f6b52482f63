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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.contest.config import AutoConfig, encoders
from metad2a_plugin.contest.contenders import Contender, EncoderContender
from metad2a_plugin.contest.images import Images
from metad2a_plugin.contest.journal import Journal, Trained, folder_of
from metad2a_plugin.contest.propose import MOST, contenders, designs, within
from metad2a_plugin.contest.result import Answers, AutoResult, Reference, measured
from metad2a_plugin.contest.schedule import best, epochs_within, rounds
from metad2a_plugin.contest.training import ContenderFit, curve, epoch_seconds
from metad2a_plugin.data import get_encoder, load_dataset
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.budget import default_model
from metad2a_plugin.plugins.registry import DEFAULT_SPACE
from metad2a_plugin.search.metad2a import MetaD2A
from metad2a_plugin.spaces.base import Cost
from metad2a_plugin.training.classifier import Classifier
from metad2a_plugin.training.encoder_network import EncoderClassifier
from metad2a_plugin.training.files import export_network, load_network
from metad2a_plugin.training.fit import Epoch
from metad2a_plugin.utils.files import write_atomically
from metad2a_plugin.utils.progress import Progress
from metad2a_plugin.utils.torch_device import usable

NETWORK = "network.safetensors"
_RESERVE = 0.03
"""Share of the time for what comes after the last training."""
_MOST_EPOCHS = 1000
_FEATURES = 0.1
"""Share of the time for features of all images by one encoder."""


def auto(
    dataset: Any,
    out: str | os.PathLike[str],
    config: AutoConfig,
    *,
    limits: Mapping[str, Any] | None = None,
    model: str | None = None,
    train: bool = True,
    progress: Progress = lambda stage, done, total, note: None,
) -> AutoResult:
    """The best network for a dataset that can be had within a time; the same call goes on after an interruption.

    The best so far is always in ``network.safetensors`` of the folder. Ctrl-C ends the trainings and gives the result
    of what is done.

    Args:
        dataset: anything that `load_dataset` reads.
        out: folder of the run: the network, ``auto.json`` and the trainings.
        config: the time, and further settings.
        limits: as `Limits` takes them: ``max_params``, ``max_flops``, ``max_latency``, ...
        model: a checkpoint that knows budgets; None is the shipped one.
        train: whether to do what is left to do; otherwise the result is of what is done.
        progress: see `Progress`.

    Raises:
        ConfigError: an argument is out of range, or nothing fits in the time within the limits.
        DatasetError: the dataset cannot be used.
        CheckpointError: `out` holds the run of other settings or images, or a file in it is damaged.
    """
    usable(config.device)
    for name in encoders(config):
        # Before any image is looked at: that there is one, that it can be trained, and that its network can be read.
        get_encoder(name)
        EncoderClassifier(name, ("",), pretrained=False)
    searcher = MetaD2A.from_pretrained(model or default_model(DEFAULT_SPACE, True))
    bounds = Limits.of(searcher.space, limits or {})
    given = {"dataset": os.fspath(dataset) if isinstance(dataset, (str, os.PathLike)) else None, "model": model}
    dataset = load_dataset(dataset)
    settings = config.to_dict() | {
        "encoders": list(encoders(config)),
        "limits": json.loads(json.dumps(dict(limits or {}), default=str)),
        "model": searcher.checkpoint.name,
        "images": dataset.content_hash,
    }
    journal = Journal(Path(out), settings)
    journal.decide("given", lambda: given)
    return _Run(searcher, bounds, Images(dataset, config, journal.folder), journal, progress).result(train)


class _Run:
    def __init__(
        self, searcher: MetaD2A, limits: Limits, images: Images, journal: Journal, progress: Progress
    ) -> None:
        self.searcher, self.limits, self.images = searcher, limits, images
        self.journal, self.progress = journal, progress
        self.device = usable(images.config.device)
        self.accuracy, self.source = -1.0, ""
        self.linear: dict[str, float] = {}
        self.costs: dict[str, Cost] = {}

    def result(self, train: bool) -> AutoResult:
        references = self._references()
        for trained in self.journal.trained:
            self._offer(trained.accuracy, trained.folder)
        found: dict[str, Contender] = {}
        interrupted = False
        try:
            plain = self.journal.decide("designs", self._designs)
            found = contenders(self.searcher.space, self.images, self.limits, plain)
            self.costs = {name: contender.cost(self.images) for name, contender in found.items()}
            if train:
                self._all_rounds(found)
        except KeyboardInterrupt:
            if not self.source:
                raise
            interrupted = True
        if not self.source:
            raise ConfigError("nothing fits in the time within the limits; give more of either")
        network = load_network(self.journal.folder / NETWORK)
        return AutoResult(
            images=self.images.dataset,
            tested=self.images.tested,
            network=network,
            source=self.source,
            validation=self.accuracy,
            validation_images=len(self.images.validation),
            test=measured(network, *self.images.test(network.input_size)),
            references=tuple(references),
            contenders=found,
            costs=self.costs,
            trained=tuple(t for t in self.journal.trained if t.contender in self.costs),
            seconds=self.journal.elapsed,
            folder=self.journal.folder,
            interrupted=interrupted,
        )

    def _references(self) -> list[Reference]:
        """What any network must beat; the first network of the run is among them."""
        images = self.images
        images.sides = self.journal.decide("encoders", self._sides)
        common = np.bincount(images.train.labels).argmax()
        frequent = [100 * float((part.labels == common).mean()) for part in (images.validation, images.tested)]
        found = [Reference("most frequent class", frequent[0], frequent[1], None)]
        for name, side in images.sides.items():
            self.progress(f"features of {name}", len(found) - 1, len(images.sides), "")
            features, head = images.features(name), images.head(name)
            validation, test = (
                Answers(torch.from_numpy(part.labels), head(features[kind]).float()).accuracy
                for kind, part in (("validation", images.validation), ("test", images.tested))
            )
            network = EncoderClassifier(name, images.dataset.class_names, input_size=side, head=head).eval()
            found.append(Reference(f"linear classifier on {name}", validation, test, network))
            self.linear[name] = validation
            if within(self.limits, network.cost):
                self._offer(validation, found[-1].name, network)
            note = f"validation accuracy {validation:.1f}%"
            self.progress(f"features of {name}", len(found) - 1, len(images.sides), note)
        return found

    def _sides(self) -> dict[str, int]:
        """Encoders whose features of all images take little of the time, and the size of the images for that."""
        images, names = self.images, encoders(self.images.config)
        most, found = _FEATURES * images.config.seconds, {}
        for name in names:
            full = images.encoder(name).size
            fitting = [side for side in (full, full // 2) if images.seconds(name, side) <= most]
            # One there must be, which is the first.
            if fitting or name == names[0]:
                found[name] = fitting[0] if fitting else full
        return found

    def _offer(self, accuracy: float, source: str, network: Classifier | None = None) -> None:
        """Keep a network if it is the best so far; one of a training is in its folder."""
        if accuracy > self.accuracy:
            folder = self.journal.folder
            self.accuracy, self.source = accuracy, source
            if network is None:
                write_atomically(folder / NETWORK, (folder / source / NETWORK).read_bytes())
            else:
                export_network(folder / NETWORK, network)

    def _designs(self) -> list[dict[str, Any]]:
        self.progress("designs", 0, 1, "")
        planned = rounds(self._left(), MOST)
        found = designs(self.searcher, self.images, self.limits, planned[-1].seconds if planned else 0)
        self.progress("designs", 1, 1, "")
        return found

    # -- rounds ----------------------------------------------------------------------------------
    def _left(self) -> float:
        """Seconds for trainings."""
        return self.images.config.seconds * (1 - _RESERVE) - self.journal.elapsed

    def _all_rounds(self, found: Mapping[str, Contender]) -> None:
        seconds = self.journal.decide(
            "seconds of an epoch",
            lambda: {name: epoch_seconds(one, self.images, self.device) for name, one in found.items()},
        )
        if not found:
            return
        planned: Sequence[Mapping[str, Any]] = self.journal.decide(
            "rounds", lambda: [vars(one) for one in rounds(self._left(), len(found))]
        )
        costs = {name: cost.flops for name, cost in self.costs.items()}
        names = list(found)
        reached = {
            name: self.linear[one.encoder]
            for name, one in found.items()
            if isinstance(one, EncoderContender) and one.config.input_size == self.images.sides[one.encoder]
        }
        for number, one in enumerate(planned, 1):
            names = names[: one["contenders"]]
            for name in names:
                known = [t.seconds / t.epochs for t in self.journal.trained if t.contender == name]
                each = known[-1] if known else seconds[name]
                last = number == len(planned)
                time = self._left() if last else one["seconds"]
                # What does not get through an epoch would take the time of the others; it may in a later round.
                if each <= time or self.journal.find(name, number):
                    self._train(found[name], number, partial(epochs_within, time, each, _MOST_EPOCHS), last)
            reached |= {t.contender: t.accuracy for t in self.journal.trained if t.round == number}
            names = best({name: reached[name] for name in names if name in reached}, costs, len(names))

    def _train(self, contender: Contender, number: int, epochs: partial[int], last: bool) -> None:
        """A contender in a round, unless that is done; in the last it is made longer or shorter by the time left."""
        name = f"epochs of {contender.name} in round {number}"
        count = self.journal.decide(name, epochs)
        if self.journal.find(contender.name, number):
            return
        fit = ContenderFit(contender, self.images, count, self.device)
        source = folder_of(contender.name, number)
        folder = self.journal.folder / source

        def report(epoch: Epoch) -> None:
            if last:
                self.journal.decided[name] = fit.retime(self._left(), _MOST_EPOCHS)
            self.journal.save()
            self.progress(
                f"round {number}, {contender.title}",
                epoch.epoch,
                fit.config.epochs,
                f"validation accuracy {epoch.accuracy:.1f}%",
            )

        fit.complete(report, folder)
        export_network(folder / NETWORK, fit.network.eval().cpu())
        seconds = sum(epoch.seconds for epoch in fit.history)
        self.journal.add(Trained(contender.name, number, curve(fit.history), seconds))
        (folder / fit.FILES[0]).unlink(missing_ok=True)
        self._offer(fit.history[-1].accuracy, source)
