"""Our predictor beside NASLib's, scored by NASLib's `PredictorEvaluator` on the same cells.

    PYTHONPATH=NASLib python benchmarks/naslib_predictors.py --data ../shared/data

The evaluator draws test cells, then labelled cells, and calls `fit` and `query`; with a training size of 0 it hands our
predictor an empty list, which it takes. Needs xgboost and lightgbm besides NASLib.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from metad2a_plugin.data import ImageDataset

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

LABELS = 60
IMAGES = 20
CASES = {
    "MetaD2A, 0 labelled cells": ("metad2a", 0),
    "MetaD2A, 0 labelled cells, without images": ("blind", 0),
    f"MetaD2A, {LABELS} labelled cells": ("metad2a", LABELS),
    f"XGBoost, {LABELS} labelled cells": ("XGBoost", LABELS),
    f"LightGBM, {LABELS} labelled cells": ("LGBoost", LABELS),
    f"random forest, {LABELS} labelled cells": ("RandomForestPredictor", LABELS),
}
FIRST, BLIND = "MetaD2A, 0 labelled cells", "MetaD2A, 0 labelled cells, without images"
BASELINE = f"XGBoost, {LABELS} labelled cells"
METRICS = ("spearman", "kendalltau", "pearson")
NOTES = """
Correlation with the validation accuracy after 200 epochs of {test_size} cells that NASLib draws: mean and standard
deviation of {repeats} seeds, which all predictors share. Labels are such accuracies too: {labels} of them are
{labels} whole trainings of 200 epochs. NASLib's predictors have its default hyper-parameters, which were not tuned.
MetaD2A has none; it is the shipped `nasbench201-paper`, which has never seen the tables, with {images} images a class
of its own for each seed. The images make no difference here: without any, no mean changes by more than {change:.4f}.
"""


def make(kind: str, images: ImageDataset, seed: int) -> Any:
    from metad2a_plugin.adapters import naslib
    from naslib import predictors

    if kind in ("metad2a", "blind"):
        options = {} if kind == "blind" else {"dataset": images.sample(IMAGES, seed)}
        return naslib.MetaD2APredictor(seed=seed, **options)
    return getattr(predictors, kind)()


def evaluate(
    data: common.Data, dataset: str, predictor: Any, labels: int, seed: int, test_size: int
) -> dict[str, float]:
    """What NASLib's evaluator says."""
    from metad2a_plugin.adapters import naslib
    from naslib.defaults.predictor_evaluator import PredictorEvaluator
    from naslib.utils import set_seed

    with TemporaryDirectory() as folder:
        config = naslib.make_config(dataset, seed=seed, save=folder)
        config.update(
            experiment_type="single",
            test_size=test_size,
            train_size_single=labels,
            train_size_list=[],
            fidelity_single=-1,
            fidelity_list=[],
            max_hpo_time=0,
            uniform_random=1,
        )
        set_seed(seed)
        evaluator = PredictorEvaluator(predictor, config)
        evaluator.adapt_search_space(
            naslib.TableSpace(), load_labeled=False, dataset_api=naslib.dataset_api(data.table)
        )
        with contextlib.redirect_stdout(io.StringIO()):  # it prints every prediction
            results = evaluator.evaluate()[-1]
    found = {metric: float(results[metric]) for metric in (*METRICS, "fit_time")}
    if not all(map(math.isfinite, found.values())):
        raise SystemExit(f"NASLib's evaluator gave no finite number: {found}")
    return found


def table(found: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> str:
    def cells(results: Sequence[Mapping[str, float]]) -> list[str]:
        return [common.mean_std([r[metric] for r in results], 3) for metric in METRICS]

    texts = []
    for dataset, cases in found.items():
        rows = [[name, *cells(results), f"{results[0]['fit_time']:.2g} s"] for name, results in cases.items()]
        spearman = {name: [r["spearman"] for r in results] for name, results in cases.items()}
        ours, theirs = (sum(spearman[name]) / len(spearman[name]) for name in (FIRST, BASELINE))
        wins = sum(a > b for a, b in zip(spearman[FIRST], spearman[BASELINE], strict=True))
        verdict = (
            f"Aim, {FIRST} above {BASELINE} by Spearman: {'met' if ours > theirs else 'missed'} "
            f"({ours:.3f} and {theirs:.3f}; above in {wins} of {len(spearman[FIRST])} seeds)."
        )
        header = ("predictor", *METRICS, "fit")
        texts.append(f"**{common.TITLES[dataset]}**\n\n{common.markdown(header, rows)}\n{verdict}\n")
    return "\n".join(texts)


def notes(found: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]], repeats: int, test_size: int) -> str:
    def mean(results: Sequence[Mapping[str, float]], metric: str) -> float:
        return sum(r[metric] for r in results) / len(results)

    changes = [mean(cases[FIRST], m) - mean(cases[BLIND], m) for cases in found.values() for m in METRICS]
    change = math.ceil(1e4 * max(map(abs, changes))) / 1e4
    return NOTES.format(test_size=test_size, repeats=repeats, labels=LABELS, images=IMAGES, change=change)


def main(argv: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--test-size", type=int, default=200, help="cells that are scored")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    data, sets = common.Data(arguments.data), common.TITLES
    images = {name: data.images(name) for name in sets}
    found = {
        dataset: {
            name: [
                evaluate(data, dataset, make(kind, images[dataset], seed), labels, seed, arguments.test_size)
                for seed in range(arguments.repeats)
            ]
            for name, (kind, labels) in CASES.items()
        }
        for dataset in sets
    }
    text = table(found) + notes(found, arguments.repeats, arguments.test_size)
    results = {"settings": common.settings(arguments), "seeds": found}
    common.write(arguments.out, "naslib_predictors", results, {"naslib_predictors": text})


if __name__ == "__main__":
    main()
