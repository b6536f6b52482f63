"""Latency and energy of networks on measured devices."""
