"""The contenders of a run, by the predictor of budgets and the limits."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.contest.contenders import CellContender, Contender, EncoderContender
from metad2a_plugin.contest.images import Images
from metad2a_plugin.search.designs import Design, NothingFitsError, find_designs
from metad2a_plugin.search.metad2a import MetaD2A
from metad2a_plugin.spaces.base import Cost, SearchSpace
from metad2a_plugin.training.speed import measure_speed
from metad2a_plugin.training.starting import LR, SHIPPED, shipped_sizes

_DESIGNS, _CONSIDERED = 3, 30
_FINE_TUNING: dict[str, Any] = {"lr": 0.02, "batch_size": 32, "warmup": 0.1}
_SEARCHING = 0.15
"""Share of the time after which no further sizes are searched."""
_GIVEN_UP = 0.35
"""Share of the time after which a search is given up: on a busy machine encoders train alone."""
_LEAST_SIDE, _LARGE = 64, 128  # pixels
MOST, _ENCODERS, _BEGUN = 6, 3, 2
"""Contenders of a run, and how many of them may be encoders and networks that begin with weights."""


class _TooLongError(Exception):
    """A search takes the time of the trainings."""


def designs(searcher: MetaD2A, images: Images, limits: Limits, seconds: float) -> list[dict[str, Any]]:
    """The best designs for a training of so many seconds, in plain values; none where none fits.

    Those of different sizes to be trained from nothing, and the best of the sizes that shipped weights are there for.
    """
    if seconds <= 0:
        return []
    start = time.monotonic()

    def watch(*_: Any) -> None:
        if time.monotonic() - start > _GIVEN_UP * images.config.seconds:
            raise _TooLongError

    speed = measure_speed(searcher.space, images.config.device)

    def best(limits: Limits) -> list[Design]:
        config = images.config
        try:
            return list(
                find_designs(
                    searcher,
                    images.known,
                    seconds / 60,
                    speed,
                    limits=limits,
                    flip=images.flip,
                    top=_CONSIDERED,
                    seed=config.seed,
                    progress=watch,
                ).designs
            )
        except (NothingFitsError, _TooLongError):
            # Then there are the references, or an error that says so.
            return []

    different: dict[Any, Design] = {}
    for design in best(limits):
        different.setdefault((design.budget.input_size, *design.budget.options.items()), design)
    found: list[tuple[str | None, Design]] = [(None, design) for design in list(different.values())[:_DESIGNS]]
    sizes = [
        size
        for size in shipped_sizes(searcher.space)
        if all(size.get(name, value) == value for name, value in limits.options.items())
    ]
    begun: list[Design] = []
    for size in sizes:
        # On a busy machine the search itself would take the time of the trainings.
        if time.monotonic() - start > _SEARCHING * images.config.seconds:
            break
        begun += best(replace(limits, options={**limits.options, **size}))[:1]
    if begun:
        found.append((SHIPPED, max(begun, key=lambda design: design.accuracy)))
    return [{"weights": weights, **design.to_dict()} for weights, design in found]


def contenders(
    space: SearchSpace, images: Images, limits: Limits, plain: list[dict[str, Any]]
) -> dict[str, Contender]:
    """What trains, by name, the most promising first.

    Args:
        space: of the designs.
        images: the data.
        limits: hard ones.
        plain: what `designs` gave.
    """
    found: list[Contender] = []
    for name, side in sorted(images.sides.items(), key=lambda one: -images.head(one[0]).accuracy):
        # Half the side takes a quarter of the time.
        for size in dict.fromkeys((side, min(side, max(images.encoder(name).size // 2, _LEAST_SIDE)))):
            batch = _FINE_TUNING | ({"batch_size": 16} if size > _LARGE else {})
            encoder = EncoderContender(name, images.training(input_size=size, **batch))
            if within(limits, encoder.cost(images)):
                found.append(encoder)
    begun: list[Contender] = []
    others: list[Contender] = []
    for number, one in enumerate(plain, 1):
        weights = one["weights"]
        design = Design.from_dict({name: value for name, value in one.items() if name != "weights"}, space)
        budget = design.budget
        config = images.training(
            batch_size=budget.batch_size,
            lr=budget.lr if weights is None else LR,
            input_size=budget.input_size,
            options=budget.options,
            weights=weights,
        )
        soft = CellContender(space, design, number, True, config)
        # Whether soft labels help is seen on the first of each kind.
        of_a_kind = others if weights is None else begun
        of_a_kind += [soft] if of_a_kind else [soft, replace(soft, soft=False)]
    # Of each kind there is one at least.
    chosen = [*found[:_ENCODERS], *begun[:_BEGUN], *others]
    return {contender.name: contender for contender in chosen[:MOST]}


def within(limits: Limits, cost: Cost) -> bool:
    """Whether a network of no space keeps to limits; of these a latency is not known."""
    counted = (limits.max_params, cost.params), (limits.max_flops, cost.flops)
    return not limits.max_latency and all(most is None or value <= most for most, value in counted)
