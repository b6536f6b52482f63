"""The model card of a checkpoint."""

from __future__ import annotations

from metad2a_plugin.models.checkpoint import Checkpoint
from metad2a_plugin.utils.templates import filled

_LEARNED = {
    "rows": "the networks of the training rows",
    "best-of-10": "as many networks of each task as it has rows, each the best predicted of ten random ones",
    None: None,
}


def card(checkpoint: Checkpoint) -> str:
    """The model card of a checkpoint, markdown."""
    training = checkpoint.training
    learned = _LEARNED[training["generator_targets"]]
    return filled("meta/card.md.j2", checkpoint=checkpoint, training=training, learned=learned) + "\n"
