"""Fit the shipped predictor of budgets to the database of real trainings and the tables, and write its checkpoint.

    python benchmarks/train_budget.py --data ../shared/data

The generator, the encoder and the answers for long training are those of the checkpoint ``nasbench201``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from metad2a_plugin.meta.trainings.fit import BudgetFitConfig, fit_budget_model
from metad2a_plugin.models.checkpoint import Checkpoint, load_checkpoint
from metad2a_plugin.models.ensemble import SubspaceEnsemble
from metad2a_plugin.utils.files import PRETRAINED, write_atomically
from metad2a_plugin.utils.progress import stages

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks._trainings import FOLDER, Measured, without
else:
    import _common as common
    from _trainings import FOLDER, Measured, without

CARD = """# {name}: accuracies within a budget, for {space}

Predictor: budget (`models/budget.py`). Image encoder: {encoder}. Generator, and the answers where no budget is given:
those of the checkpoint `nasbench201`.

## Data
- {rows:,} real trainings of {contexts:,} contexts on {tasks} tasks of {sets} image sets (`benchmarks/trainings`).
- The validation accuracies of NAS-Bench-201 after 12 and 200 epochs, as contexts and as prior columns: {tables}.

## Measured
{measured}

## Made by
`{command}`

## Limits
Trainings were of at most 1,500 images and some minutes of one core; between them and the tables' 12 epochs on 25,000
images nothing was measured. An accuracy is on held-out images of the same dataset, by the recipe of `metad2a train`.
Intervals hold for image sets like those learned from.

## Terms
For non-commercial research, as the images are that these weights were made from (`LICENSE-WEIGHTS.md` of the package).
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the database of trainings")
    parser.add_argument("--write", type=Path, default=PRETRAINED / "nasbench201-budget", help="the checkpoint's folder")
    parser.add_argument("--without", nargs="*", default=[], metavar="SET", help="image sets to leave out")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    measured = Measured(common.Data(options.data), options.runs / "features", options.folder)
    trainings, base = measured.trainings, load_checkpoint("nasbench201")
    trainings = trainings.rows(torch.tensor([name not in options.without for name in trainings.image_set]))
    tables = without(measured.tables, set(options.without))
    assert isinstance(base.predictor, SubspaceEnsemble)
    with stages() as progress:
        model = fit_budget_model(
            trainings,
            measured.tasks,
            base.predictor,
            tables=tables,
            config=BudgetFitConfig(),
            progress=progress,
        )
    command = "python benchmarks/train_budget.py --data ../shared/data"
    if options.without:
        command = " ".join([command, "--without", *options.without])
    results = options.out / "budget.json"
    metrics = json.loads(results.read_bytes())["metrics"] if results.is_file() else {}
    about = {
        "recipe": "budget",
        "seed": 0,
        "tables": sorted({table.source for table in tables}),
        "rows": len(trainings),
        "contexts": len(trainings.context.unique()),
        "tasks": len(trainings.task.unique()),
        "sets": len(set(trainings.image_set)),
        "command": command,
        "metrics": metrics,
        "classes": base.training["classes"],
        "schedule": base.training["schedule"],
    }
    made = Checkpoint(
        name=options.write.name,
        space=base.space,
        encoder=base.encoder,
        encoder_fingerprint=base.encoder_fingerprint,
        predictor=model,
        generator=base.generator,
        training=about,
    )
    made.save(options.write)
    lines = [f"- {name.replace('_', ' ')}: {value:.3g}" for name, value in metrics.items()]
    told = "\n".join(lines) or "See `benchmarks/budget.py`."
    text = CARD.format(**{**about, "tables": ", ".join(about["tables"])}, name=made.name, space=base.space,
                       encoder=base.encoder, measured=told)  # fmt: skip
    write_atomically(options.write / "README.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
