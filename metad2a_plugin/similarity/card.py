"""The card of a library of known tasks."""

from __future__ import annotations

from metad2a_plugin.similarity.library import KnownTask, TaskLibrary


def card(library: TaskLibrary) -> str:
    """What a library holds and how it was made, markdown."""
    cells, training, versions = (library.provenance[name] for name in ("cells", "training", "versions"))
    config, first = library.config, library.tasks[0]
    size = sum(p.numel() for p in first.network.backbone.parameters())
    lines = [
        "# Known tasks and their good cells",
        "",
        f"{len(library.tasks)} tasks; of each a small network (`{config.backbone}`, {size:,} weights without the head,",
        f"half precision) that tells how near a new dataset is, and the same {cells['count']} random live cells of",
        f"`{library.space}`, trained and validated on it. `config.json` holds all their accuracies; the best",
        f"{library.good} are a task's good cells. docs/task_similarity.md says how distances are measured.",
        "",
        "## Tasks",
        "*Network* is the small network's validation accuracy, *cells* are the best and the median validation",
        "accuracy of the trained cells, *majority* is that of always answering the most frequent class, in percent.",
        "",
        "| task | images and classes | network | best cell | median cell | majority |",
        "|---|---|---|---|---|---|",
        *map(_row, library.tasks),
        "",
        "## Made by",
        f"`{library.provenance['command'] or 'metad2a_plugin.similarity.build.build_library'}`",
        "",
        f"- Networks: {config.steps} steps of {config.batch_size} images of {config.input_size} pixels, on 90% of at",
        f"  most {config.images:,} images of a task; seed {config.seed}. Fisher information on at most",
        f"  {config.fisher_images} of these.",
        f"- Cells: {training['channels']} channels, {training['cells']} cell a stage, {training['epochs']} epochs on",
        f"  {1 - training['validation']:.0%} of at most {cells['images']} images of {training['input_size']} pixels,",
        f"  validated on the others; seed {cells['seed']}.",
        f"- metad2a-plugin {versions['metad2a-plugin']}, torch {versions['torch']}.",
        "",
        "## Limits",
        "Cells were trained once, small and short: the 95% intervals in `config.json` count the validation images",
        "only, and are wide, so the order of neighbouring cells of a task is not certain. An accuracy here is not what",
        "the network of full size reaches.",
        "",
    ]
    return "\n".join(lines)


def _row(task: KnownTask) -> str:
    accuracies = sorted(cell.accuracy for cell in task.cells)
    best, median = accuracies[-1], accuracies[len(accuracies) // 2]
    numbers = (task.accuracy, best, median, task.majority_accuracy)
    return f"| {task.name} | {task.description} | {' | '.join(f'{number:.1f}' for number in numbers)} |"
