"""Settings of the meta-training of the paper's models: ours, and the authors'."""

from __future__ import annotations

from dataclasses import dataclass

from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.utils.checks import FINITE, TINY, settings

_LEAST = {"epochs": 1, "batch_size": 1, "images_per_class": 1, "seed": 0}
_RANGES: dict[str, tuple[float, float, str]] = {
    "lr": (TINY, FINITE, "a positive number, such as 1e-3"),
    "weight_decay": (0, FINITE, "0 or a positive number, such as 1e-2"),
    "target_std": (TINY, FINITE, "a positive number, such as 1"),
}
_SCHEDULES = ("cosine", "plateau")


@dataclass(frozen=True)
class PaperConfig:
    """How a model of the paper is meta-trained: Adam, on random image sets of the training rows.

    Attributes:
        epochs: passes over the training rows.
        batch_size: rows of a step.
        lr: highest learning rate.
        weight_decay: decoupled from the gradient (AdamW).
        schedule: ``"cosine"`` rises over the first twentieth of the steps, then falls to zero; ``"plateau"``
            divides by ten once the training loss has not fallen for more than ten epochs.
        keep_best: return the weights of the epoch that did best on the validation rows, not the last ones.
        images_per_class: images drawn of each class.
        target_std: standard deviation of the predictor's targets; of no use to the generator.
        first_protocol_only: leave out the rows of protocol 1, whose accuracies lie on another scale.
        seed: of the initial weights, the order of the rows and the images drawn.

    Raises:
        ConfigError: a value is out of range.
    """

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float = 0.0
    schedule: str = "cosine"
    keep_best: bool = False
    images_per_class: int = 20
    target_std: float = 1.0
    first_protocol_only: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        settings(self, _LEAST, _RANGES)
        if self.schedule not in _SCHEDULES:
            raise ConfigError(f"schedule must be one of {_SCHEDULES}, got {said(self.schedule)}")


GENERATOR = PaperConfig(
    epochs=24, batch_size=128, lr=3e-3, keep_best=True, images_per_class=10, first_protocol_only=True
)
"""A minute and a half of one core. Rows of protocol 1 hold cells of another kind, which a search does not want."""
PREDICTOR = PaperConfig(epochs=30, batch_size=256, lr=2e-3, weight_decay=0.05, images_per_class=10)
"""Three minutes of one core; the last epoch counts, so the validation rows choose nothing."""
GENERATOR_RELEASE = PaperConfig(epochs=400, batch_size=32, lr=1e-4, schedule="plateau", seed=333)
"""The authors' settings; their generator is the last epoch's."""
PREDICTOR_RELEASE = PaperConfig(
    epochs=400, batch_size=32, lr=1e-4, schedule="plateau", keep_best=True, target_std=0.01, seed=333
)
"""The authors' settings; their predictor is that of highest Pearson correlation on the validation rows."""
