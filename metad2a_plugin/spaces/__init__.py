"""Search spaces: sets of architectures behind one interface, `SearchSpace`."""

from metad2a_plugin.spaces.base import Architecture, Architectures, Cost, SearchSpace
from metad2a_plugin.spaces.choice import ChoiceSpace

__all__ = ["Architecture", "Architectures", "ChoiceSpace", "Cost", "SearchSpace"]
