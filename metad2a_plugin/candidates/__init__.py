"""Candidate architectures: hard limits, draws that keep to them, and the refinement of what was drawn."""
