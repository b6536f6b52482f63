"""NASLib: every strategy as an optimizer of its Trainer, the predictor as one of its predictors.

NASLib (automl/NASLib, branch Develop) does not import on current Python; importing this module makes it
(`prepare` says what that takes). It is on no package index::

    git clone --branch Develop https://github.com/automl/NASLib && export PYTHONPATH=$PWD/NASLib

    from metad2a_plugin.adapters import naslib  # first
    from naslib.defaults.trainer import Trainer

    optimizer = naslib.MetaD2AOptimizer(config, dataset="photos/")
    optimizer.adapt_search_space(NasBench201SearchSpace(), dataset_api=naslib.dataset_api(benchmark))
    Trainer(optimizer, config).search()

``python -m metad2a_plugin.adapters.naslib --help`` runs it, and NASLib's own optimizers, on a benchmark.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from metad2a_plugin.errors import MetaD2AError
from metad2a_plugin.utils.files import write_json
from metad2a_plugin.utils.lazy import resolver

from ._naslib_compat import INSTALL, prepare
from ._naslib_encodings import from_naslib, to_one_hot, to_op_indices, to_op_names

if TYPE_CHECKING:
    from ._naslib_optimizer import MetaD2AOptimizer, StrategyOptimizer
    from ._naslib_predictor import MetaD2AEnsemble, MetaD2APredictor, NamedPredictor
    from ._naslib_search import OneShotResult, make_config, search, search_one_shot
    from ._naslib_space import TableSpace, dataset_api, to_naslib

__all__ = [
    "INSTALL",
    "MetaD2AEnsemble",
    "MetaD2AOptimizer",
    "MetaD2APredictor",
    "NamedPredictor",
    "OneShotResult",
    "StrategyOptimizer",
    "TableSpace",
    "dataset_api",
    "from_naslib",
    "make_config",
    "prepare",
    "search",
    "search_one_shot",
    "to_naslib",
    "to_one_hot",
    "to_op_indices",
    "to_op_names",
]
# Encodings need no NASLib; all else is imported when it is asked for, and says so where NASLib is absent.
__getattr__ = resolver(
    __name__,
    {
        "adapters._naslib_optimizer": ("MetaD2AOptimizer", "StrategyOptimizer"),
        "adapters._naslib_predictor": ("MetaD2AEnsemble", "MetaD2APredictor", "NamedPredictor"),
        "adapters._naslib_search": ("OneShotResult", "make_config", "search", "search_one_shot"),
        "adapters._naslib_space": ("TableSpace", "dataset_api", "to_naslib"),
    },
)
if __name__ != "__main__" and find_spec("naslib") is not None:
    prepare()  # so that NASLib itself can be imported from here on


def main(argv: Sequence[str] | None = None) -> None:
    """Search a benchmark and say what was found; wrong input ends in one sentence on stderr and status 2."""
    from .nas_bench_201 import default_benchmark, open_benchmark

    parser = argparse.ArgumentParser(prog="python -m metad2a_plugin.adapters.naslib", description="Search a benchmark.")
    parser.add_argument("--optimizer", default="metad2a", help="a strategy's name, or rs, re, ls, bananas, npenas")
    parser.add_argument("--dataset", default="cifar10", help="of the benchmark: cifar10, cifar100 or imagenet16-120")
    parser.add_argument("--epochs", type=int, default=100, help="queries")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--benchmark", help="file or folder; by default the compact table in METAD2A_DATA")
    parser.add_argument("--images", help="for metad2a: a dataset like that of the benchmark; by default none")
    parser.add_argument("--json", type=Path, help="file to write every query to")
    given = parser.parse_args(argv)
    try:
        from ._naslib_search import search

        benchmark = default_benchmark() if given.benchmark is None else open_benchmark(given.benchmark)
        trace = search(
            given.optimizer, benchmark, given.dataset, epochs=given.epochs, seed=given.seed, images=given.images
        )
        if given.json:
            write_json(given.json, trace.to_dict())
    except MetaD2AError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    best = int(trace.incumbents()[-1])
    own = trace.setup_seconds + sum(trace.own_seconds)
    print(f"best of {len(trace.cells)} queries, query {best + 1}: {trace.cells[best]}")
    print(f"validation {trace.told[best]:.2f}%, test {trace.test[best]:.2f}%")
    hours = sum(trace.train_seconds) / 3600
    known = "unknown hours" if math.isnan(hours) else f"{hours:.1f} hours"
    print(f"{known} of simulated training, {own:.1f} seconds of the search itself")


if __name__ == "__main__":
    main()
