"""One module per host toolkit or benchmark; each imports its host only when it is used."""
