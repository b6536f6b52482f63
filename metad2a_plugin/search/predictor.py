"""The predictor of a checkpoint behind the `Predictor` interface."""

from __future__ import annotations

from metad2a_plugin.models.checkpoint import Checkpoint
from metad2a_plugin.plugins.predictor import Prediction, Predictor
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.spaces.base import Architectures, SearchSpace


class CheckpointPredictor(Predictor):
    """Scores architectures by their predicted accuracy, in percent; without a task, for the average meta-training task.

    Args:
        space: the checkpoint's search space.
        checkpoint: the models.
    """

    quantity, unit = "accuracy", "%"

    def __init__(self, space: SearchSpace, checkpoint: Checkpoint) -> None:
        super().__init__(space)
        self.checkpoint = checkpoint
        self.name, self.scale = checkpoint.name, scale_of(checkpoint)

    def predict(self, task: Task | None, architectures: Architectures) -> Prediction:
        return self.checkpoint.predictor.predict_task(task, self.space.encode(architectures))

    def distance(self, task: Task) -> float | None:
        return self.checkpoint.predictor.distance(task)


def scale_of(checkpoint: Checkpoint) -> str:
    """What its accuracies are, if its training says so as ``scale``; else what is true of any, and its ``schedule``."""
    if "scale" in checkpoint.training:
        return str(checkpoint.training["scale"])
    tasks = f"{checkpoint.training.get('classes', 20)} classes"
    if "schedule" in checkpoint.training:
        tasks += f", {checkpoint.training['schedule']}"
    quality = checkpoint.training.get("quality")
    order = f" Their order is that of the predictor {quality}." if quality else ""
    return (
        f"Accuracies are on the scale of the meta-training tasks ({tasks}): they rank networks; metad2a train measures "
        f"them.{order}"
    )
