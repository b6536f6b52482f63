"""MetaD2A, and every strategy of ``metad2a-plugin``, as samplers: an image dataset decides on the first networks."""

from metad2a_plugin.adapters.optuna import MetaD2ASampler, StrategySampler, suggest_architecture

__all__ = ["MetaD2ASampler", "StrategySampler", "suggest_architecture"]
