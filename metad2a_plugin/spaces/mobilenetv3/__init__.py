"""The MobileNetV3 space of Once-for-All: the search space, its costs, networks and supernet."""

from metad2a_plugin.spaces.mobilenetv3.layout import DEPTHS, EDGES, EXPANDS, KERNELS, LAYERS, RESOLUTIONS, STAGES
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space

__all__ = ["DEPTHS", "EDGES", "EXPANDS", "KERNELS", "LAYERS", "RESOLUTIONS", "STAGES", "MobileNetV3Space"]
