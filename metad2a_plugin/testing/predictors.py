"""The conformance kit for predictors."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from metad2a_plugin.errors import ArchitectureError, ConfigError
from metad2a_plugin.plugins.predictor import Prediction, Predictor
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.testing.helpers import foreign_values, global_seed, refuses, some
from metad2a_plugin.testing.toy import ToySpace


class PredictorConformance:
    """The contract of `Predictor`; override `make`, `make_space`, and `make_task` where a dataset is read.

    Attributes:
        samples: how many random architectures are scored.
        tolerance: relative, for scores that must be equal up to rounding.
    """

    samples = 20
    tolerance = 1e-4

    def make_space(self) -> SearchSpace:
        return ToySpace()

    def make(self, space: SearchSpace) -> Predictor:
        raise NotImplementedError("return a new instance of your predictor")

    def make_task(self, seed: int = 0) -> Task:
        """A dataset as your predictor reads it: 64 random features of 30 images in 3 classes."""
        generator = torch.Generator().manual_seed(seed)
        return Task(torch.randn(30, 64, generator=generator), torch.arange(30) % 3)

    def _scores(self, architectures: Sequence[Architecture] | None = None) -> torch.Tensor:
        space = self.make_space()
        cells = some(space, self.samples) if architectures is None else architectures
        return self.make(space).predict(self.make_task(), cells).mean

    def _assert_close(self, a: torch.Tensor, b: torch.Tensor, message: str) -> None:
        assert a.shape == b.shape and torch.allclose(a, b, rtol=self.tolerance, atol=1e-6), message

    def test_one_finite_score_each(self) -> None:
        space = self.make_space()
        found = self.make(space).predict(self.make_task(), some(space, self.samples))
        assert isinstance(found, Prediction), f"predict must return a Prediction, got {type(found).__name__}"
        scores = found.mean
        assert scores.dtype == torch.float32 and scores.shape == (self.samples,), f"{scores.dtype} {scores.shape}"
        assert bool(scores.isfinite().all())
        assert not scores.requires_grad, "scores must not carry a gradient graph"
        if found.std is not None:
            assert found.std.shape == scores.shape, f"std of shape {list(found.std.shape)}"
            assert bool(found.std.isfinite().all() and (found.std >= 0).all()), "std must be finite and not negative"

    def test_encoded_or_not(self) -> None:
        space = self.make_space()
        cells = some(space, self.samples)
        encoded = self.make(space).predict(self.make_task(), space.encode(cells)).mean
        self._assert_close(encoded, self._scores(cells), "encoded architectures score differently")

    def test_batches_of_one_and_none(self) -> None:
        assert self._scores(some(self.make_space(), 1)).shape == (1,)
        assert self._scores([]).shape == (0,) and self._scores([]).dtype == torch.float32

    def test_tells_architectures_apart(self) -> None:
        assert len(self._scores().unique()) > 1, "every architecture has the same score"

    def test_same_input_same_scores(self) -> None:
        with global_seed(1):
            first = self._scores()
        with global_seed(2):
            assert self._scores().equal(first), "scores depend on the global random state"
        space = self.make_space()
        predictor, task, cells = self.make(space), self.make_task(), some(space, self.samples)
        first, second = (predictor.predict(task, cells).mean for _ in range(2))
        assert first.equal(second), "a second call scores differently"

    def test_scores_follow_the_order(self) -> None:
        cells = some(self.make_space(), self.samples)
        self._assert_close(self._scores(cells[::-1]), self._scores(cells).flip(0), "scores depend on the order")

    def test_scores_do_not_depend_on_the_batch(self) -> None:
        cells = some(self.make_space(), self.samples)
        alone = torch.cat([self._scores([a]) for a in cells[:5]])
        self._assert_close(alone, self._scores(cells)[:5], "an architecture scores differently in a batch")
        twice = self._scores([cells[0], *cells, cells[0]])
        self._assert_close(twice[[0, 1, -1]], twice[:1].expand(3), "equal architectures score differently")

    def test_any_sequence_will_do(self) -> None:
        cells = some(self.make_space(), self.samples)
        assert self._scores(tuple(cells)).equal(self._scores(cells))

    def test_refuses_foreign_architectures(self) -> None:
        space = self.make_space()
        predictor = self.make(space)
        for foreign in foreign_values(space):
            with refuses(ArchitectureError, f"predict(task, [{foreign!r}])"):
                predictor.predict(self.make_task(), [*some(space, 1), foreign])

    def test_the_task_matters_exactly_when_it_is_needed(self) -> None:
        space = self.make_space()
        predictor, cells = self.make(space), some(space, self.samples)
        first, second = (predictor.predict(self.make_task(seed), cells).mean for seed in (0, 1))
        if predictor.needs_task:
            with refuses(ConfigError, "predict(None, architectures) with needs_task"):
                predictor.predict(None, cells)
            assert not first.equal(second), "two datasets give the same scores, although needs_task is True"
        else:
            assert predictor.predict(None, cells).mean.equal(first), "scores change with a task that is not needed"
            assert first.equal(second), "scores depend on the dataset, although needs_task is False"
