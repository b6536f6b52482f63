"""Search strategies behind the ask/tell interface `metad2a_plugin.plugins.strategy.Strategy`, one module each."""

from metad2a_plugin.strategies.area import AREA
from metad2a_plugin.strategies.local_search import LocalSearch
from metad2a_plugin.strategies.mdenas import MDENAS
from metad2a_plugin.strategies.metad2a import MetaD2AStrategy
from metad2a_plugin.strategies.naswot import NASWOTStrategy
from metad2a_plugin.strategies.ofa_evolution import OFAEvolution
from metad2a_plugin.strategies.random_search import RandomSearch
from metad2a_plugin.strategies.regularized_evolution import RegularizedEvolution
from metad2a_plugin.strategies.task_similarity import TaskSimilarityStrategy
from metad2a_plugin.strategies.trained_search import TrainedSearch, train_search

__all__ = [
    "AREA", "MDENAS", "LocalSearch", "MetaD2AStrategy", "NASWOTStrategy", "OFAEvolution", "RandomSearch",
    "RegularizedEvolution", "TaskSimilarityStrategy", "TrainedSearch", "train_search",
]  # fmt: skip
