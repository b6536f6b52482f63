"""The card of a library of known tasks."""

from __future__ import annotations

from metad2a_plugin.similarity.library import TaskLibrary
from metad2a_plugin.utils.templates import filled


def card(library: TaskLibrary) -> str:
    """What a library holds and how it was made, markdown."""
    tasks = [(task, sorted(cell.accuracy for cell in task.cells)) for task in library.tasks]
    size = sum(p.numel() for p in library.tasks[0].network.backbone.parameters())
    return filled("similarity/card.md.j2", library=library, config=library.config, tasks=tasks, size=size) + "\n"
