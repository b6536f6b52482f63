"""Analyses of architectures."""
