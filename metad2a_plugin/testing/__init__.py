"""Conformance kits for plug-in authors, and a toy search space to try things on.

Subclass a kit in your own tests, say how to make your object, and pytest runs every check of its contract::

    from metad2a_plugin.testing import StrategyConformance

    class TestGreedy(StrategyConformance):
        def make(self, space, seed):
            return Greedy(space, seed=seed)

The kits need no pytest themselves: every check is a plain method that raises AssertionError.
"""

from metad2a_plugin.testing.predictors import PredictorConformance
from metad2a_plugin.testing.spaces import SearchSpaceConformance
from metad2a_plugin.testing.strategies import StrategyConformance
from metad2a_plugin.testing.toy import ToySpace

__all__ = ["PredictorConformance", "SearchSpaceConformance", "StrategyConformance", "ToySpace"]
