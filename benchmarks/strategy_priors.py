"""What MetaD2A's strategy makes of a right, a wrong and a useless prediction, on the benchmark tables.

    python benchmarks/strategy_priors.py --data ../shared/data

A strategy is told the validation accuracy of what it asks for; reported is the best validation accuracy so far, which
is what a search sees. The strategy was developed on the trainings of 12 epochs; those of 200 epochs are the report.
Finished runs stay under ``runs/strategy_priors``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metad2a_plugin import MetaD2A, get_strategy
from metad2a_plugin.plugins.predictor import Prediction, Predictor
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import Architectures

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

AT = (1, 5, 10, 30, 100)
BASELINES = {"random search": "random", "regularized evolution": "regularized-evolution"}
OTHER = {"cifar10": "imagenet16-120", "imagenet16-120": "cifar10"}
EPOCHS = {200: "report", 12: "developed on"}
SHIPPED, UNSEEN = "nasbench201", "nasbench201-paper"
TURNED = f"{UNSEEN}, turned round"
NOTES = """
Best validation accuracy in percent after so many queries, mean ± standard deviation over {runs} runs; runs with the
same prediction are the same, so their spread is none and one is made. **Bold** is behind the mean of random search.
*{unseen}* has seen no table, *{shipped}* both; both rank for the average meta-training task.
*{unseen}, turned round* is its negative: the worst that can be. *Noise* is a random number a cell; *nonsense* a random
line through the cells' structure, so that similar cells are wrong together. *Fixed order* follows *{unseen}* whatever
it is told.
"""


class Known(Predictor):
    """Predicts what it was given.

    Args:
        values: of every cell in the official order, float64 ``[15625]``.
    """

    def __init__(self, values: np.ndarray) -> None:
        super().__init__(common.SPACE)
        self._values = torch.tensor(values, dtype=torch.float32)

    def predict(self, task: Any, architectures: Architectures) -> Prediction:
        return Prediction(self._values[[common.SPACE.index(cell) for cell in common.SPACE.decode(architectures)]])


class Priors:
    """Predictions of every cell, right and wrong.

    Attributes:
        names: of all.
        random: of those that differ from run to run.
    """

    names = (UNSEEN, SHIPPED, "other table, 12 epochs", "FLOPs", "parameters", "noise", "nonsense", TURNED)
    random = ("noise", "nonsense")

    def __init__(self, data: common.Data) -> None:
        self.data = data

    def of(self, name: str, dataset: str, run: int) -> np.ndarray:
        """Float64 ``[15625]``; `run` is the seed of the random ones."""
        made: dict[str, Callable[[], np.ndarray]] = {
            UNSEEN: partial(self._predicted, UNSEEN),
            SHIPPED: partial(self._predicted, SHIPPED),
            "other table, 12 epochs": lambda: self.data.table.accuracies(OTHER[dataset], "valid", epochs=12),
            "FLOPs": self._costs[1].numpy,
            "parameters": self._costs[0].numpy,
            "noise": lambda: np.random.default_rng(run).normal(size=common.SPACE.size),
            "nonsense": lambda: self._structure @ np.random.default_rng(run).normal(size=self._structure.shape[1]),
            TURNED: lambda: -self._predicted(UNSEEN),
        }
        return made[name]()

    def _predicted(self, model: str) -> np.ndarray:
        searcher = self.searcher if model == UNSEEN else MetaD2A.from_pretrained(model)
        return searcher.predict(None, common.SPACE.all_vertices()).mean.double().numpy()

    @cached_property
    def searcher(self) -> MetaD2A:
        return MetaD2A.from_pretrained(UNSEEN)

    @cached_property
    def _costs(self) -> tuple[torch.Tensor, torch.Tensor]:
        return common.SPACE.costs(common.SPACE.all_vertices())

    @cached_property
    def _structure(self) -> np.ndarray:
        found = common.SPACE.describe(common.SPACE.all_vertices()).structure.double().numpy()
        return np.asarray((found - found.mean(0)) / found.std(0).clip(1e-9))


def curve(told: np.ndarray, index_of: Callable[[Any], int], strategy: Strategy, queries: int) -> list[float]:
    """The best value after each query."""
    best, found = -np.inf, []
    for _ in range(queries):
        for cell in strategy.ask(1):
            value = float(told[index_of(cell)])
            strategy.tell(cell, value)
            best = max(best, value)
        found.append(best)
    return found


def table(curves: dict[str, np.ndarray]) -> str:
    """Of runs ``[runs, queries]`` each, as markdown."""
    random = curves["random search"]
    at = [q for q in AT if q <= random.shape[1]]
    rows = []
    for name, found in curves.items():
        cells = []
        for q in at:
            text = common.mean_std(found[:, q - 1].tolist(), 2)
            cells.append(f"**{text}**" if found[:, q - 1].mean() < random[:, q - 1].mean() else text)
        rows.append([name, *cells])
    return common.markdown(("prediction, or strategy", *(str(q) for q in at)), rows)


def run(options: argparse.Namespace) -> None:
    data = common.Data(options.data)
    priors = Priors(data)
    texts: list[str] = []
    means: dict[str, dict[str, list[float]]] = {}
    for epochs, purpose in EPOCHS.items():
        for dataset in common.TITLES:
            told = data.table.accuracies(dataset, "valid", epochs=epochs)

            def searched(name: str, seed: int, told: np.ndarray = told, dataset: str = dataset) -> list[float]:
                # Strategies share one interface but not their options.
                make: Callable[..., Strategy] = get_strategy(BASELINES.get(name, "metad2a"))
                given: dict[str, Any] = {}
                if name not in BASELINES:
                    prior = priors.of(UNSEEN if name == "fixed order" else name, dataset, seed)
                    given = {"model": priors.searcher, "predictor": Known(prior), "adapt": name != "fixed order"}
                strategy = make(common.SPACE, seed=seed, **given)
                return curve(told, data.table.index_of, strategy, options.queries)

            curves = {}
            for name in (*BASELINES, "fixed order", *Priors.names):
                repeats = options.repeats if name in (*BASELINES, *Priors.random) else 1
                kept = options.runs / "strategy_priors" / f"{dataset}-{epochs}" / name
                key = {"queries": options.queries}
                runs = [(kept / f"{seed}.json", partial(searched, name, seed)) for seed in range(repeats)]
                curves[name] = np.array([common.remember(path, key, made) for path, made in runs])
            title = f"{common.TITLES[dataset]}, {epochs} epochs"
            means[title] = {name: found.mean(0).tolist() for name, found in curves.items()}
            texts.append(f"**{title}** ({purpose}; the best of the table has {told.max():.2f})\n\n{table(curves)}")
            print(f"{title} done", flush=True)
    texts.append(NOTES.format(runs=options.repeats, unseen=UNSEEN, shipped=SHIPPED))
    results = {"settings": common.settings(options), "mean": means}
    common.write(options.out, "strategy_priors", results, {"strategy_priors": "\n".join(texts)})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=30, help="runs of what is random")
    parser.add_argument("--queries", type=int, default=100, help="cells looked up in a run")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    run(options)


if __name__ == "__main__":
    main()
