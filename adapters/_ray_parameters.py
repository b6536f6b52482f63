"""What trials of Ray Tune have beside an architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ray.tune.search.variant_generator import generate_variants, parse_spec_vars

from metad2a_plugin.errors import ConfigError

ARCHITECTURE = "architecture"
"""The key of a trial's config that has the architecture, as text."""


class Others:
    """Parameters that Tune's domains are drawn for, at random.

    Args:
        space: the ``param_space`` of a tuner; without a domain nothing is drawn, and Tune itself adds what it holds.
        seed: of the draws.

    Raises:
        ConfigError: it has an architecture of its own, or a grid.
    """

    def __init__(self, space: Mapping[str, Any], seed: int) -> None:
        if ARCHITECTURE in space:
            raise ConfigError(f"param_space has {ARCHITECTURE!r}, which the strategy proposes; leave it out")
        _, domains, grids = parse_spec_vars({"config": dict(space)})
        if grids:
            raise ConfigError("param_space has a grid_search, which goes without a search_alg; use tune.choice")
        self._space, self._seed = dict(space) if domains else {}, seed

    def draw(self, number: int) -> tuple[dict[str, Any], list[list[str]]]:
        """The parameters of the draw of that number, and what tells them from others."""
        if not self._space:
            return {}, []
        state = np.random.SeedSequence([self._seed, number]).generate_state(1)
        drawn, spec = next(iter(generate_variants({"config": self._space}, random_state=int(state[0]))))
        return spec["config"], sorted([*map(str, path), repr(value)] for path, value in drawn.items())
