"""The model card of a checkpoint."""

from __future__ import annotations

from typing import Any

from metad2a_plugin.models.checkpoint import Checkpoint

_LEARNED = {
    "rows": "the networks of the training rows",
    "best-of-10": "as many networks of each task as it has rows, each the best predicted of ten random ones",
}


def card(checkpoint: Checkpoint) -> str:
    """The model card of a checkpoint, markdown."""
    training: dict[str, Any] = dict(checkpoint.training)
    metrics, targets, quality = training["metrics"], training["generator_targets"], training.get("quality")
    tables = ", ".join(training["tables"]) or "none"
    data = (
        f"{training['rows']:,} training rows, {training['validation_rows']:,} validation rows, "
        f"{training['tasks']:,} tasks; {training['images']:,} images of their classes"
    )
    lines = [
        f"# {checkpoint.name}: MetaD2A for {checkpoint.space}",
        "",
        f"Predictor: {checkpoint.kind}. Recipe: {training['recipe']}, seed {training['seed']}.",
        f"Image encoder: {checkpoint.encoder}.",
        "",
        "## Data",
        f"- Meta-database: {data}.",
        f"- Benchmark tables: {tables}.",
        *([f"- Order of networks: that of the predictor `{quality}`; the database tells the rest."] if quality else []),
        *([f"- The generator learned {_LEARNED[targets]}."] if targets else []),
        "",
        "## Measured",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value:.3f} |" for name, value in metrics.items()),
        "",
        "Correlations are on the validation rows, from images alone: `_new` on tasks that no training row has,",
        "`_level` with the dataset moving all architectures alike, `_blind` without the images, `_twin` by a model",
        "that never saw images, `_within` of deviations from a task's mean. `coverage_90` is the share of validation",
        "rows measured by the main protocol inside the 90% interval that a search shows, in `_all` of all rows inside",
        "one that allows for either protocol. The paper's predictor, and any whose validation tasks have new classes,",
        "has its interval set on half of these tasks, and its coverage is of the other half. `generator_*` are percent",
        "of 1,000 architectures for each of at most 20 validation tasks; `generator_gain` is by how many points their",
        "mean predicted accuracy exceeds that of random ones.",
        "",
        "## Made by",
        f"`{training['command'] or 'metad2a_plugin.meta.train.meta_train'}`",
        "",
        "## Limits",
        f"Accuracies are on the scale of the meta-training tasks ({training['classes']} classes each). On another",
        "dataset they rank architectures; they do not tell what a network will reach. The further a dataset is from",
        "the meta-training tasks, the less the ranking depends on it.",
        "",
    ]
    return "\n".join(lines)
