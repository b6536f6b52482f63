"""The models behind a search: MetaD2A's generator and predictor, and this package's own predictor."""
