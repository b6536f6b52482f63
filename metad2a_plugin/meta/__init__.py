"""The meta-database and meta-training."""
