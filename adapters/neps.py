"""neps: the strategies of this package as optimizers of `neps.run`.

::

    import neps
    from metad2a_plugin.adapters.neps import architecture_of, metad2a, pipeline_space

    def evaluate(lr, **chosen):
        return 100 - train(architecture_of(chosen), lr)

    space = pipeline_space(lr=neps.Float(1e-3, 1.0, log=True))
    neps.run(evaluate, space, optimizer=partial(metad2a, dataset="photos/"), total_evaluations_to_spend=50)

What an optimizer knows is in the trials of the run's folder: any number of processes work on one, and any later one
goes on with it. Written for neps 0.17, package ``neural-pipeline-search``.
"""

# ruff: noqa: E402
from __future__ import annotations

from ._neps_compat import INSTALL, check

check()  # before anything of neps is imported

from ._neps_optimizer import StrategyOptimizer, metad2a, strategy
from ._neps_space import architecture_of, pipeline_space

__all__ = ["INSTALL", "StrategyOptimizer", "architecture_of", "metad2a", "pipeline_space", "strategy"]
