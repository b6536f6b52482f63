"""Search in a supernet: many architectures that share their weights."""
