"""Small things with no knowledge of networks: checks, files, figures, progress, the torch device."""
