"""`auto`: from images to a trained network, within a time.

References first: the most frequent class, and linear classifiers of encoders' features. Then contenders train in rounds
(`schedule`): what the predictor of budgets proposes for the time there is, from nothing and from weights, with and
without soft labels, and the encoders themselves. The network of the highest validation accuracy is what comes out,
whichever way it was made; it is measured on the test part, by which nothing was chosen.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.contest.at_once import Job, train_jobs, trainers
from metad2a_plugin.contest.config import AutoConfig, encoders
from metad2a_plugin.contest.contenders import Contender, EncoderContender
from metad2a_plugin.contest.images import Images
from metad2a_plugin.contest.journal import ADVICE, Journal, Trained, contenders_of, folder_of
from metad2a_plugin.contest.propose import MOST, contenders, designs, within
from metad2a_plugin.contest.references import as_good, check_encoder, linear_on, mirrored, references, sides
from metad2a_plugin.contest.refit import refit, refit_linear
from metad2a_plugin.contest.result import AutoResult, Reference, measured
from metad2a_plugin.contest.schedule import LAST, best, epochs_within, rounds
from metad2a_plugin.contest.training import NETWORK, curve, epochs_seconds, train_contender
from metad2a_plugin.data import load_dataset
from metad2a_plugin.errors import CheckpointError, ConfigError, require
from metad2a_plugin.plugins.budget import default_model
from metad2a_plugin.plugins.registry import DEFAULT_SPACE
from metad2a_plugin.search.metad2a import MetaD2A
from metad2a_plugin.spaces.base import Cost
from metad2a_plugin.training.classifier import Classifier
from metad2a_plugin.training.files import export_network, load_network
from metad2a_plugin.training.fit import Epoch
from metad2a_plugin.utils.cluster import Pool
from metad2a_plugin.utils.files import write_atomically
from metad2a_plugin.utils.locks import alone_in
from metad2a_plugin.utils.memory import give_back
from metad2a_plugin.utils.progress import Progress
from metad2a_plugin.utils.torch_device import one_thread, usable

REFIT = "refit"
_RESERVE, _LEAST_RESERVE = 0.03, 3.0
"""Share of the time for what comes after the last training, the page included, and its least seconds."""
_MOST_EPOCHS = 1000
_FEATURES = 0.1
"""Share of the time for features of all images by one encoder."""
_MEASURING = 0.1
"""Share of the time after which no further contender is measured."""


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
        ConfigError: an argument is out of range, nothing fits in the time within the limits, or another process is
            writing `out`.
        DatasetError: the dataset cannot be used.
        CheckpointError: `out` holds the run of other settings, images or encoders, or a file in it is damaged.
    """
    began = time.monotonic()
    usable(config.device)
    if config.ray is not None:
        require("ray", "training at once", "ray")
    fingerprints = {name: check_encoder(name) for name in encoders(config)}
    searcher = MetaD2A.from_pretrained(model or default_model(DEFAULT_SPACE, True))
    if not searcher.predictor.knows_budgets:
        raise ConfigError(f"the model {model!r} knows no budgets; leave it out to take one that does")
    bounds = Limits.of(searcher.space, limits or {})
    given = {"dataset": _place(dataset), "model": model}
    dataset = load_dataset(dataset)
    settings = config.to_dict() | {
        "limits": json.loads(json.dumps(dict(limits or {}), default=str)),
        "model": searcher.checkpoint.name,
        "images": dataset.content_hash,
    }
    if dataset.validation is not None:
        settings["validation_images"] = dataset.validation.content_hash
    for name in config.WHERE:
        settings.pop(name)
    with alone_in(Path(out) if train else None):
        journal = Journal(Path(out), settings, began=began)
        if not train and not {"designs", "sides"} <= journal.decided.keys():
            raise ConfigError(f"the run in {str(out)!r} has not come far enough; metad2a auto goes on with it")
        journal.decide("given", lambda: given)
        used = journal.decide("encoders", lambda: fingerprints)
        for name, fingerprint in used.items():
            if (fingerprints.get(name) or check_encoder(name)) != fingerprint:
                raise CheckpointError(f"the run in {str(out)!r} is of other weights of the encoder {name!r}; {ADVICE}")
        run = _Run(searcher, bounds, Images(dataset, config, journal.folder), journal, progress)
        del searcher
        return run.result(train)


def _place(dataset: Any) -> str | None:
    """Where a dataset is, if it is somewhere."""
    if not isinstance(dataset, (str, os.PathLike)):
        return None
    return os.path.abspath(dataset) if os.path.exists(dataset) else os.fspath(dataset)


class _Run:
    def __init__(
        self, searcher: MetaD2A, limits: Limits, images: Images, journal: Journal, progress: Progress
    ) -> None:
        self.searcher, self.limits, self.images = searcher, limits, images
        self.journal, self.progress = journal, progress
        self.device = usable(images.config.device)
        self.accuracy, self.source = -1.0, ""
        self.references: dict[str, Reference] = {}
        self.costs: dict[str, Cost] = {}

    def result(self, train: bool) -> AutoResult:
        images, journal = self.images, self.journal
        most = _FEATURES * images.config.seconds
        images.sides = journal.decide("sides", lambda: sides(images, list(journal.decided["encoders"]), most))
        self.references = {one.name: one for one in references(images, self.progress)}
        lost = journal.decide("mirrored", lambda: mirrored(images))
        if images.config.flip is None:
            images.flip = as_good(*lost)
        self._choose()
        if train:
            self._keep()
        found: dict[str, Contender] = {}
        interrupted = False
        try:
            plain = journal.decide("designs", self._designs)
            space = self.searcher.space
            # Its posterior takes hundreds of megabytes, which the trainings can have.
            del self.searcher
            give_back()
            found = contenders(space, images, self.limits, plain)
            self.costs = {name: contender.cost(images) for name, contender in found.items()}
            if train:
                self._all_rounds(found)
        except KeyboardInterrupt:
            if not self.source:
                raise
            interrupted = True
        if not self.source:
            raise ConfigError("nothing fits in the time within the limits; give more of either")
        network = self._best()
        test = measured(network.to(self.device), *images.test(network.input_size))
        if train and not interrupted:
            if images.config.refit:
                interrupted = self._refit(found)
            if not interrupted:
                journal.decide("seconds", lambda: journal.elapsed)
        if journal.decided.get("best") == REFIT:
            network = load_network(journal.folder / NETWORK)
        return AutoResult(
            images=images.dataset,
            tested=images.tested,
            network=network.cpu(),
            source=self.source,
            validation=self.accuracy,
            validation_images=len(images.validation),
            test=test,
            references=tuple(self.references.values()),
            contenders=found,
            costs=self.costs,
            trained=tuple(t for t in journal.trained if t.contender in self.costs),
            flip=images.flip,
            mirrored=(lost[0], lost[1]),
            seconds=journal.decided.get("seconds", journal.elapsed),
            folder=journal.folder,
            refitted=journal.decided.get("best") == REFIT,
            interrupted=interrupted,
        )

    def _choose(self) -> None:
        """The best of references and trainings, in whichever order these have ended."""
        self.accuracy, self.source = -1.0, ""
        for one in self.references.values():
            if one.network is not None and within(self.limits, one.network.cost):
                self._offer(one.validation, one.name)
        for trained in self.journal.trained:
            self._offer(trained.accuracy, trained.folder)

    def _offer(self, accuracy: float, source: str) -> None:
        """A reference or a training: the best if better than all before, or as good and the same trained further."""
        further = Path(source).name == Path(self.source).name
        if accuracy > self.accuracy or (further and accuracy == self.accuracy):
            self.accuracy, self.source = accuracy, source

    def _keep(self) -> None:
        """The best network so far, in its file, unless it is there."""
        folder, path, known = self.journal.folder, self.journal.folder / NETWORK, self.journal.decided.get("best")
        if self.source and (known not in (self.source, REFIT) or not path.exists()):
            reference = self.references.get(self.source)
            if reference is None:
                write_atomically(path, (folder / self.source / NETWORK).read_bytes())
            else:
                assert reference.network is not None  # or it was not offered
                export_network(path, reference.network)
            self.journal.decided["best"] = self.source
            self.journal.save()

    def _best(self) -> Classifier:
        """The best network of the contest."""
        reference = self.references.get(self.source)
        if reference is not None:
            assert reference.network is not None  # or it was not offered
            return reference.network
        return load_network(self.journal.folder / self.source / NETWORK)

    def _refit(self, found: Mapping[str, Contender]) -> bool:
        """Train the best on all images, unless that is done; whether it was interrupted."""
        journal = self.journal
        if journal.decided.get("best") == REFIT:
            return False
        trained = next((t for t in journal.trained if t.folder == self.source), None)
        try:
            if trained is None:
                [encoder] = (name for name in self.images.sides if linear_on(name) == self.source)
                network = refit_linear(self.images, encoder)
            else:
                title = f"on all images, {found[trained.contender].title}"
                network = refit(
                    found[trained.contender],
                    self.images,
                    trained.epochs,
                    self.device,
                    journal.folder / REFIT,
                    journal.folder / trained.folder / NETWORK,
                    lambda: self._left(1.0),
                    lambda epoch, epochs: self._tell(title, epoch, epochs),
                )
        except KeyboardInterrupt:
            return True
        except ConfigError as error:
            warnings.warn(f"the best was not trained on all images: {error}", stacklevel=2)
            return False
        export_network(journal.folder / NETWORK, network)
        journal.decided["best"] = REFIT
        journal.save()
        return False

    def _tell(self, title: str, epoch: Epoch, epochs: int) -> None:
        self.journal.save()
        self.progress(title, epoch.epoch, epochs, f"loss {epoch.loss:.3f}")

    def _designs(self) -> list[dict[str, Any]]:
        self.progress("designs", 0, 1, "")
        planned = rounds(self._left(), MOST)
        found = designs(self.searcher, self.images, self.limits, planned[-1].seconds if planned else 0)
        self.progress("designs", 1, 1, "")
        return found

    # -- rounds ----------------------------------------------------------------------------------
    def _left(self, share: float | None = None) -> float:
        """Seconds for trainings, of a share of all; of what is not for the refit by default."""
        config = self.images.config
        if share is None:
            share = 1 / (1 + LAST / self.images.learned) if config.refit else 1
        return share * config.seconds - max(_RESERVE * config.seconds, _LEAST_RESERVE) - self.journal.elapsed

    def _all_rounds(self, found: Mapping[str, Contender]) -> None:
        if not found:
            return
        address = self.images.config.ray
        with nullcontext() if address is None else trainers(address, self.images, MOST) as at_once:
            with one_thread() if at_once and self.device.type == "cpu" else nullcontext():
                most = _MEASURING * self.images.config.seconds
                seconds = self.journal.decide(
                    "seconds of an epoch", lambda: epochs_seconds(found, self.images, self.device, most)
                )
            if untried := [one.title for name, one in found.items() if name not in seconds]:
                said = "to measure how long they take would take the time of the others"
                warnings.warn(f"not tried, since {said}: {'; '.join(untried)}; give more time", stacklevel=2)
            self._rounds({name: one for name, one in found.items() if name in seconds}, seconds, at_once)
            if not self.journal.trained:
                least = min(seconds.values())
                warnings.warn(f"nothing was trained: an epoch takes {least:.0f} s; give more time", stacklevel=2)

    def _rounds(self, found: Mapping[str, Contender], seconds: Mapping[str, float], at_once: Pool | None) -> None:
        planned: Sequence[Mapping[str, Any]] = self.journal.decide(
            "rounds", lambda: [vars(one) for one in rounds(self._left(), len(found), at_once.count if at_once else 1)]
        )
        costs = {name: cost.flops for name, cost in self.costs.items()}
        names = list(found)
        reached = {}
        for name, one in found.items():
            if isinstance(one, EncoderContender) and one.config.input_size == self.images.sides[one.encoder]:
                reached[name] = self.references[linear_on(one.encoder)].validation
        for number, plan in enumerate(planned, 1):
            last = number == len(planned)

            def fitting(names: Sequence[str] = names, plan: Mapping[str, Any] = plan, last: bool = last) -> list[str]:
                # What does not get through an epoch would take the time of the others; it may in a later round.
                time = self._left() if last else plan["seconds"]
                return [name for name in names if self._each(name, seconds) <= time][: plan["contenders"]]

            jobs: list[Job] = []
            for name in self.journal.decide(contenders_of(number), fitting):
                time = self._left() if last else plan["seconds"]
                jobs += self._jobs(found[name], number, partial(epochs_within, time, self._each(name, seconds)), last)
                if at_once is None and jobs:
                    self._train(jobs.pop(), number)
            if at_once is not None:
                self._train_at_once(at_once, jobs, number)
            reached |= {t.contender: t.accuracy for t in self.journal.trained if t.round == number}
            failed = self.journal.decided.get("failed", {})
            known = {name: reached[name] for name in names if name in reached and name not in failed}
            others = [name for name in names if name not in reached and name not in failed]
            names = [*best(known, costs, len(known)), *others]

    def _each(self, name: str, seconds: Mapping[str, float]) -> float:
        """Seconds of an epoch, as measured in training or, before that, on a few batches."""
        known = [t.seconds / t.epochs for t in self.journal.trained if t.contender == name]
        return known[-1] if known else seconds[name]

    def _jobs(self, contender: Contender, number: int, epochs: Callable[[int], int], last: bool) -> list[Job]:
        """The training of a contender in a round; none if that is done."""
        name, journal = contender.name, self.journal
        count = journal.decide(_epochs_of(name, number), lambda: epochs(_MOST_EPOCHS))
        if journal.find(name, number) or name in journal.decided.get("failed", {}):
            return []
        before = [t.folder for t in journal.trained if t.contender == name]
        begin = (journal.folder / before[-1] / NETWORK).resolve() if before else None
        folder = (journal.folder / folder_of(name, number)).resolve()
        return [Job(contender, count, folder, begin, self._left() if last else None)]

    def _train(self, job: Job, number: int) -> None:
        """In the last round it is made longer or shorter by the time left."""
        contender, journal = job.contender, self.journal

        def report(epoch: Epoch, epochs: int) -> None:
            journal.decided[_epochs_of(contender.name, number)] = epochs
            journal.save()
            note = f"validation accuracy {epoch.accuracy:.1f}%"
            self.progress(f"round {number}, {contender.title}", epoch.epoch, epochs, note)

        left = None if job.seconds is None else self._left
        try:
            outcome: list[Epoch] | str = train_contender(
                contender, self.images, job.epochs, self.device, job.folder, job.begin, left, _MOST_EPOCHS, report
            )
        except ConfigError as error:
            outcome = str(error)
        self._done(job, number, outcome)

    def _train_at_once(self, at_once: Pool, jobs: Sequence[Job], number: int) -> None:
        title = f"round {number}, {min(len(jobs), at_once.count)} at once"

        def waiting(done: int) -> None:
            self.journal.save()
            self.progress(title, done, len(jobs), f"{self.journal.elapsed:.0f} s of work so far")

        for job, outcome in train_jobs(at_once, jobs, _MOST_EPOCHS, waiting):
            self._done(job, number, outcome)

    def _done(self, job: Job, number: int, outcome: list[Epoch] | str) -> None:
        """Keep the history of a training, or why there is none."""
        name, journal = job.contender.name, self.journal
        if isinstance(outcome, str):
            # One that diverges must not end the others.
            warnings.warn(f"{job.contender.title} is left out: {outcome}", stacklevel=2)
            journal.decided.setdefault("failed", {})[name] = outcome
            journal.save()
            return
        journal.add(Trained(name, number, curve(outcome), sum(epoch.seconds for epoch in outcome)))
        self._choose()
        self._keep()


def _epochs_of(contender: str, number: int) -> str:
    """The decision how long a contender trains in a round."""
    return f"epochs of {contender} in round {number}"
