"""Neural building blocks: attention over sets and gated recurrence over graphs, as batched tensor code."""
