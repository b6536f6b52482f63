"""Analyses of architectures: the wiring of cells, and how trained networks converge and lie in their surroundings."""

from metad2a_plugin.analysis.landscape import LandscapeConfig
from metad2a_plugin.analysis.page import write_page
from metad2a_plugin.analysis.run import analyze
from metad2a_plugin.analysis.study import Analysis, Studied

__all__ = ["Analysis", "LandscapeConfig", "Studied", "analyze", "write_page"]
