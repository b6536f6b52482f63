"""Strategies that search among networks whose accuracies they are told, and what they recommend after each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metad2a_plugin import get_strategy
from metad2a_plugin.data import ImageDataset
from metad2a_plugin.plugins.predictor import Prediction, Predictor
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.predictors.naswot import NASWOTPredictor
from metad2a_plugin.spaces.base import Architecture, Architectures
from metad2a_plugin.utils.files import write_atomically

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common


@dataclass(frozen=True)
class Method:
    """A strategy: its registry name and options.

    Attributes:
        looks: whether it is shown the images.
        scores: whether it takes NASWOT's scores.
        supernet: epochs of its search in a supernet or a mixture, at the least; 0 for strategies that train cells one
            by one.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    looks: bool = False
    scores: bool = False
    supernet: int = 0


METHODS = {
    "MetaD2A": Method("metad2a", {"model": "nasbench201-paper"}, looks=True),
    "AREA": Method("area", scores=True),
    "NASWOT": Method("naswot", scores=True),
    "task similarity": Method("task-similarity", looks=True),
    "regularized evolution": Method("regularized-evolution"),
    "local search": Method("local-search"),
    "OFA's evolution": Method("ofa-evolution"),
    "MDENAS": Method("mdenas"),
    "random search": Method("random"),
    "DARTS": Method("darts", looks=True, supernet=1),
    "LPT": Method("lpt", {"selector_lr": 1e-2}, looks=True, supernet=1),
    "FUSE": Method("fuse", {"alpha_lr": 1e-2, "rounds": 10}, looks=True, supernet=1),
    "MDENAS, shared weights": Method("mdenas", supernet=100),
}


TIMED = 10
"""Networks whose scoring is timed where scores are taken over."""


class Scores(Predictor):
    """NASWOT's scores of one minibatch, each computed once and kept in a file.

    Attributes:
        seconds: that those scores took which were kept, and so cost nothing now.
    """

    def __init__(self, dataset: ImageDataset, path: Path, **options: Any) -> None:
        super().__init__(common.SPACE)
        self._predictor = NASWOTPredictor(common.SPACE, dataset, **options)
        self._path = path
        self._kept: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}
        self.seconds = 0.0

    def predict(self, task: Any, architectures: Architectures) -> Prediction:
        found = [self._score(architecture) for architecture in self.space.decode(architectures)]
        return Prediction(torch.tensor(found, dtype=torch.float32))

    def _score(self, architecture: Architecture) -> float:
        key = common.SPACE.format(architecture)
        if key not in self._kept:
            begin = time.process_time()
            score = float(self._predictor.predict(None, [architecture]).mean[0])
            self._kept[key] = [score, time.process_time() - begin]
            write_atomically(self._path, json.dumps(self._kept).encode())
            return score
        score, seconds = self._kept[key]
        self.seconds += seconds
        return score

    def adopt(self, source: Path) -> None:
        """Take over the scores that ``benchmarks/naswot.py`` has kept, with the time that a few take here."""
        lines = [json.loads(line) for line in source.read_text().splitlines()] if source.exists() else []
        cells = list(common.SPACE.enumerate())
        new = {common.SPACE.format(cells[line["index"]]): line["score"] for line in lines}
        new = {key: score for key, score in new.items() if key not in self._kept}
        timed = [common.SPACE.parse(key) for key in list(new)[:TIMED]]
        here = self.predict(None, timed).mean.tolist()
        if not np.allclose(here, [new[common.SPACE.format(cell)] for cell in timed], rtol=1e-5):
            raise SystemExit(f"{source} holds scores of another minibatch; run benchmarks/naswot.py again")
        if timed:
            typical = float(np.median([self._kept[common.SPACE.format(cell)][1] for cell in timed]))
            self._kept |= {key: [score, typical] for key, score in new.items() if key not in self._kept}
            write_atomically(self._path, json.dumps(self._kept).encode())


@dataclass(frozen=True)
class Row:
    """After one query.

    Attributes:
        test: accuracy of what is recommended, percent.
        own: seconds of computing that the strategy took so far.
        training: seconds of training so far: what the table says, or what was measured.
    """

    test: float
    own: float
    training: float


@dataclass(frozen=True)
class Bench:
    """What strategies search on: `value` and `test` are accuracies, `seconds` those of a training.

    Attributes:
        images: shown to strategies that look at some.
        scored: the images that NASWOT scores.
        folder: for kept files.
        settings: options of NASWOT's predictor.
    """

    images: Callable[[int], ImageDataset]
    scored: ImageDataset
    folder: Path
    settings: Mapping[str, Any]
    query: Callable[[Architecture, int], tuple[float, float, float]]

    def strategy(self, method: Method, seed: int) -> tuple[Strategy, Scores | None]:
        options: dict[str, Any] = dict(method.options)
        if method.looks:
            options["dataset"] = self.images(seed)
        scores = None
        if method.scores:
            name = "-".join(["naswot", *(f"{key}{value}" for key, value in self.settings.items())])
            scores = Scores(self.scored, self.folder / f"{name}.json", **self.settings)
            options["predictor"] = scores
        make: Callable[..., Strategy] = get_strategy(method.name)
        return make(common.SPACE, seed=seed, **options), scores

    def curve(self, method: Method, seed: int, queries: int) -> list[dict[str, float]]:
        """A row after each query."""
        begin, training = time.process_time(), 0.0
        strategy, scores = self.strategy(method, seed)
        own, rows, known = time.process_time() - begin, [], {}
        for _ in range(queries):
            begin = time.process_time()
            looked_up = 0.0 if scores is None else scores.seconds
            asked = strategy.ask(1)
            own += time.process_time() - begin
            if scores is not None:
                # Kept scores count with the time that they took.
                own += scores.seconds - looked_up
            if not asked:
                break
            [cell] = asked
            if cell not in known:
                known[cell] = self.query(cell, seed)
                training += known[cell][2]
            begin = time.process_time()
            strategy.tell(cell, known[cell][0])
            own += time.process_time() - begin
            best = strategy.recommendation
            assert best is not None
            # Trained only to be scored, where it was not asked for: no time of the search.
            test = known[best][1] if best in known else self.query(best, seed)[1]
            rows.append(asdict(Row(test, own, training)))
        return rows


def table_bench(data: common.Data, dataset: str, folder: Path) -> Bench:
    told, test = (data.table.accuracies(dataset, split) for split in ("valid", "test"))
    images = data.images(dataset)

    def query(cell: Architecture, seed: int) -> tuple[float, float, float]:
        index = data.table.index_of(cell)
        return float(told[index]), float(test[index]), float(data.table.train_seconds(cell, dataset, "valid"))

    # Of a minibatch of CIFAR-10 for both tables, as in the paper's search.
    return Bench(
        images=lambda seed: images.sample(20, seed),
        scored=data.images("cifar10"),
        folder=folder,
        settings={},
        query=query,
    )
