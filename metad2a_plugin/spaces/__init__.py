"""Search spaces: sets of architectures behind one interface, `SearchSpace`."""

from metad2a_plugin.spaces.base import Architecture, Cost, SearchSpace

__all__ = ["Architecture", "Cost", "SearchSpace"]
