"""The plainest predictors, which every other one must beat: bigger networks are better."""

from __future__ import annotations

from metad2a_plugin.plugins.predictor import Prediction, Predictor
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.spaces.base import Architectures


class ParamsPredictor(Predictor):
    """Scores an architecture by its parameters, in millions."""

    def predict(self, task: Task | None, architectures: Architectures) -> Prediction:
        return Prediction(self.space.costs(self.space.encode(architectures))[0].float())


class FlopsPredictor(Predictor):
    """Scores an architecture by its multiply-accumulates, in millions."""

    def predict(self, task: Task | None, architectures: Architectures) -> Prediction:
        return Prediction(self.space.costs(self.space.encode(architectures))[1].float())
