"""Ray Tune: the strategies of this package as search algorithms, and their networks as trials on a cluster.

    from ray import tune
    from metad2a_plugin.adapters.ray import MetaD2ASearch, trainable

    search = tune.TuneConfig(search_alg=MetaD2ASearch("photos/"), num_samples=20)
    tune.Tuner(trainable("photos/"), tune_config=search).fit()

`StrategySearch` wraps any strategy by name. See ``docs/ray.md``.
"""

# ruff: noqa: E402
from __future__ import annotations

from metad2a_plugin.errors import require

require("ray", "searching in Ray Tune", "ray", "fsspec", "pandas", "pyarrow", "requests")  # all that ray.tune imports

from ._ray_parameters import ARCHITECTURE
from ._ray_search import METRIC, MODE, MetaD2ASearch, StrategySearch
from ._ray_training import trainable

__all__ = ["ARCHITECTURE", "METRIC", "MODE", "MetaD2ASearch", "StrategySearch", "trainable"]
