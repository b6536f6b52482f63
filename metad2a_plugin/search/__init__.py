"""From a dataset to ranked architectures: `MetaD2A`, and what a search has found."""

from metad2a_plugin.search.designs import Design, Designs, find_designs
from metad2a_plugin.search.metad2a import MetaD2A, pareto_space, search_space
from metad2a_plugin.search.pareto import Front
from metad2a_plugin.search.predictor import FAR
from metad2a_plugin.search.ranking import Ranking
from metad2a_plugin.search.result import LEVEL, Candidate, SearchResult
from metad2a_plugin.search.scoring import score_architectures

__all__ = [
    "FAR", "LEVEL", "Candidate", "Design", "Designs", "Front", "MetaD2A", "Ranking", "SearchResult", "find_designs",
    "pareto_space", "score_architectures", "search_space",
]  # fmt: skip
