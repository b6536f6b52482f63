"""A meta-database of real trainings: what is trained, for how long and on which images, and how well it learned."""
