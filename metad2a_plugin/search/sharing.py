"""How a model of `MetaD2A` is shared."""

from __future__ import annotations

from metad2a_plugin.models.checkpoint import Checkpoint
from metad2a_plugin.utils.sharing import Card, Shareable


class SharedModel(Shareable):
    """Shares its checkpoint."""

    checkpoint: Checkpoint

    def card(self) -> Card:
        return self.checkpoint.card()

    def files(self) -> dict[str, bytes]:
        return self.checkpoint.files()
