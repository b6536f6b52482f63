"""Searches on a network that all architectures share."""
