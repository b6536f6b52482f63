"""How fast networks are trained on one core, beside the convolutions alone, and what the rest of a step is lost on.

    python benchmarks/training_speed.py                # 3 minutes
    python benchmarks/training_speed.py --compile      # also with torch.compile, which takes minutes a network

Seconds are of the process, so that other work on the machine disturbs little. Convolutions are measured as they are in
the network, forward and backward, those that reach the output: no loop around them can be faster. The straightforward
loop computes every operation of a cell by its own module, as the loop here did at first.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from metad2a_plugin.nn.lean import lean
from metad2a_plugin.spaces.base import Architecture, random_live
from metad2a_plugin.training.classifier import ImageClassifier
from metad2a_plugin.training.images import augmented

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

SIZES = ((8, 1, 16, 32), (8, 1, 16, 128), (8, 3, 16, 64), (16, 1, 32, 64), (16, 3, 32, 128))
"""Channels, cells a stage, pixels, batch."""
PARTS = {
    "convolution": ("conv",),
    "batch norm": ("batch_norm",),
    "pooling": ("pool",),
    "ReLU and sums": ("relu", "clamp_min", "threshold", "aten::add", "aten::sum"),
    "optimiser": ("SGD", "aten::mul_", "aten::add_", "zero_grad", "AccumulateGrad"),
    "images": ("index", "pad", "copy_", "randint", "aten::div", "aten::sub"),
}
"""Names of operations by what they are for; the last that fits counts."""


class Step(NamedTuple):
    """One step of a training, ready to be repeated."""

    network: ImageClassifier
    run: Callable[[], object]


def make(cell: Architecture, size: tuple[int, int, int, int], *, way: str = "") -> Step:
    """A step as `training.fit` does it, or in another `way`: ``straightforward``, ``bfloat16`` or ``compiled``."""
    channels, cells, pixels, batch = size
    options = {"channels": channels, "cells": cells}
    network = ImageClassifier(common.SPACE, cell, 10, input_size=pixels, options=options).train()
    called: Any = torch.compile(network) if way == "compiled" else network
    plain = way == "straightforward"
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9, weight_decay=5e-4, nesterov=True)
    cropped = crops if plain else lambda part: augmented(part, False)
    images = torch.randint(0, 256, (1000, 3, pixels, pixels), dtype=torch.uint8)
    labels = torch.randint(0, 10, (1000,))

    def run() -> None:
        chosen = torch.randint(0, 1000, (batch,))
        with nullcontext() if plain else lean(network):
            with torch.autocast("cpu", torch.bfloat16, enabled=way == "bfloat16"):
                logits = called(cropped(images[chosen]))
            loss = nn.functional.cross_entropy(logits.float(), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return Step(network, run)


def crops(images: torch.Tensor) -> torch.Tensor:
    """Random ones of padded images, uint8 ``[n, 3, size, size]``, by an index a dimension."""
    n, size = len(images), images.shape[-1]
    pad = size // 8
    padded = nn.functional.pad(images, (pad, pad, pad, pad)).permute(0, 2, 3, 1)
    rows, columns = (torch.randint(2 * pad + 1, (n, 1)) + torch.arange(size) for _ in range(2))
    each = torch.arange(n)[:, None, None]
    return padded[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def convolutions(network: ImageClassifier, batch: int) -> Callable[[], object]:
    """Those that a step needs alone, forward and backward, each on numbers of the right shape and layout."""
    calls: list[tuple[torch.Tensor, nn.Conv2d]] = []

    def hear(layer: nn.Conv2d, given: Any, output: torch.Tensor) -> None:
        calls.append((given[0].detach().requires_grad_(len(calls) > 0), layer))

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    handles = [layer.register_forward_hook(hear) for layer in layers]
    pixels = torch.randint(0, 256, (batch, network.input_size, network.input_size, 3), dtype=torch.uint8)
    network(pixels.permute(0, 3, 1, 2)).sum().backward()
    for handle in handles:
        handle.remove()
    # What cannot reach the output has no gradient.
    calls = [(given, layer) for given, layer in calls if layer.weight.grad is not None]
    gradients = [torch.randn_like(layer(given)) for given, layer in calls]

    def run() -> None:
        for (given, layer), gradient in zip(calls, gradients, strict=True):
            wanted = [x for x in (given, layer.weight) if x.requires_grad]
            torch.autograd.grad(layer(given), wanted, gradient)

    return run


def seconds(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median of each way's process seconds, all in turn."""
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats + 2):
        for way, run in ways.items():
            begin = time.process_time()
            run()
            found[way].append(time.process_time() - begin)
    return {way: statistics.median(values[2:]) for way, values in found.items()}


def shares(run: Callable[[], object], repeats: int) -> dict[str, float]:
    """Of a step's time, by `PARTS`; what is none of them is calls and bookkeeping."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(repeats):
            run()
    spent = dict.fromkeys([*PARTS, "the rest"], 0.0)
    for event in found.key_averages():
        fits = [part for part, names in PARTS.items() if any(name in event.key for name in names)]
        spent[fits[-1] if fits else "the rest"] += event.self_cpu_time_total
    return {part: value / sum(spent.values()) for part, value in spent.items()}


def main() -> None:
    arguments = common.parser(__doc__)
    arguments.add_argument("--cells", type=int, default=6, help="random ones, which times are means of")
    arguments.add_argument("--repeats", type=int, default=15)
    arguments.add_argument("--compile", action="store_true")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rng = random.Random(0)
    cells = [random_live(common.SPACE, rng) for _ in range(options.cells)]
    others = ["bfloat16", *["compiled"] * options.compile]
    results, rows, lost = [], [], []
    for size in SIZES:
        each, spent = [], []
        for cell in cells:
            ours = make(cell, size)
            ways: dict[str, Callable[[], object]] = {"trained": ours.run}
            ways["straightforward"] = make(cell, size, way="straightforward").run
            ways["convolutions"] = convolutions(make(cell, size).network, size[3])
            each.append(seconds(ways | {way: make(cell, size, way=way).run for way in others}, options.repeats))
            spent.append(shares(ours.run, options.repeats))
        speed = {way: [size[3] / one[way] for one in each] for way in each[0]}
        best = [one["trained"] / one["convolutions"] for one in each]
        name = "{} channels, {} cells, {} px, batch {}".format(*size)
        gained = [one["straightforward"] / one["trained"] for one in each]
        faster = [common.mean_std([one["trained"] / one[way] for one in each], 2) for way in others]
        rows.append(
            [name, common.mean_std(speed["straightforward"], 0), common.mean_std(speed["trained"], 0),
             common.mean_std(gained, 2), common.mean_std(speed["convolutions"], 0), common.mean_std(best, 2), *faster]
        )  # fmt: skip
        part = {p: statistics.fmean(one[p] for one in spent) for p in spent[0]}
        lost.append([name, *(f"{100 * share:.0f}%" for share in part.values())])
        results.append({"size": size, "images_a_second": speed, "shares": part})
    header = [
        "network", "straightforward, images/s", "this loop, images/s", "times faster", "convolutions alone, images/s",
        "at most times faster still", *(f"{way}, times" for way in others)
    ]  # fmt: skip
    text = common.markdown(header, rows) + "\nWhat a step's time goes to:\n\n"
    text += common.markdown(["network", *part], lost)
    text += f"\nMeans ± standard deviations over {len(cells)} random cells; one thread.\n"
    common.write(options.out, "training_speed", {"settings": common.settings(options), "sizes": results},
                 {"training_speed": text})  # fmt: skip


if __name__ == "__main__":
    main()
