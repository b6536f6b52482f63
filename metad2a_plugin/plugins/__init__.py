"""The contracts that plug-ins implement, and the registry that finds them by name."""
