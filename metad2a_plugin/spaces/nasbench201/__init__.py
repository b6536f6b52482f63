"""NAS-Bench-201: the search space, its cells, costs, networks and supernet."""

from metad2a_plugin.spaces.nasbench201.cell import CELL_EDGES, DATAFLOW, EDGES, OPS
from metad2a_plugin.spaces.nasbench201.space import NASBench201

__all__ = ["CELL_EDGES", "DATAFLOW", "EDGES", "OPS", "NASBench201"]
