"""Cheap statistics of a dataset's images: what the pixels themselves say, whatever an encoder makes of them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional as F

from metad2a_plugin.nn.probe import linear_probe

STATISTICS = (
    "spectrum_slope", "colour", "background", "edges", "contrast", "variety", "pixel_probe", "convolution_probe",
)  # fmt: skip
"""Names of what `image_statistics` gives."""
_SIDE, _SMALL = 32, 12  # pixels
_NEAR, _STEEP = 12 / 255, 0.1  # differences of grey
_PROBED, _AT_ONCE = 1500, 256  # images
_FILTERS, _WINDOW, _THRESHOLD = 64, 5, 0.5


class StatisticsOf:
    """Gathers batches of images of one dataset."""

    def __init__(self) -> None:
        self._each: list[torch.Tensor] = []
        self._small: list[torch.Tensor] = []
        self._convolved: list[torch.Tensor] = []
        self._filters = _random_filters()

    def add(self, images: torch.Tensor) -> None:
        """Of more images, uint8 ``[n, 3, size, size]``."""
        pixels = F.interpolate(images.float() / 255, (_SIDE, _SIDE), mode="area")
        self._each.append(_each(pixels))
        self._small.append(F.adaptive_avg_pool2d(pixels, _SMALL).flatten(1))
        self._convolved += [_convolved(part, self._filters) for part in pixels.split(_AT_ONCE)]

    def of(self, labels: torch.Tensor) -> dict[str, float]:
        """`image_statistics` of all that were added, whose classes are int64 ``[images]``."""
        small = torch.cat(self._small)
        # Of many images some, evenly, are enough for the probe.
        chosen = torch.linspace(0, len(small) - 1, min(len(small), _PROBED)).long()
        variety = small.var(0, correction=0).mean() / small.square().mean().clamp(min=1e-9)
        values = torch.cat([torch.cat(self._each).mean(0), variety[None]]).tolist()
        classes = labels[chosen].unique(return_inverse=True)[1]
        probes = [linear_probe(features[chosen], classes) for features in (small, torch.cat(self._convolved))]
        return dict(zip(STATISTICS, [*values, *probes], strict=True))


def image_statistics(images: torch.Tensor, labels: torch.Tensor) -> Mapping[str, float]:
    """What the pixels of a dataset say, by the names of `STATISTICS`.

    - ``spectrum_slope``: of the logarithm of the power on that of the frequency; about -2 in photographs.
    - ``colour``: mean deviation between the channels of a pixel, from 0 to 1 as all the others.
    - ``background``: share of pixels as bright as the median of the border.
    - ``edges``: share of pixels where brightness changes steeply.
    - ``contrast``: mean deviation of brightness within an image.
    - ``variety``: share of the power of the pixels that differs between images.
    - ``pixel_probe``: share of images that a linear classifier of small images gets right (`nn.probe.linear_probe`).
    - ``convolution_probe``: the same of random convolutions, averaged over the quarters of an image: what a network
      that starts from nothing finds easy (cf. Coates, Lee and Ng, AISTATS 2011).

    Args:
        images: uint8 RGB ``[n, 3, size, size]``.
        labels: class of each, int64 ``[n]``.
    """
    statistics = StatisticsOf()
    statistics.add(images)
    return statistics.of(labels)


def _each(pixels: torch.Tensor) -> torch.Tensor:
    """The first five statistics of every image ``[n, 3, _SIDE, _SIDE]``, from 0 to 1; ``[n, 5]``."""
    grey = pixels.mean(1)
    border = torch.cat([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], dim=1).median(1).values
    slopes = (grey[:, 1:, :-1] - grey[:, :-1, :-1]).square() + (grey[:, :-1, 1:] - grey[:, :-1, :-1]).square()
    return torch.stack(
        [
            _spectrum_slope(grey),
            pixels.std(1, correction=0).mean((1, 2)),
            ((grey - border[:, None, None]).abs() < _NEAR).float().mean((1, 2)),
            (slopes > _STEEP**2).float().mean((1, 2)),
            grey.std((1, 2), correction=0),
        ],
        dim=1,
    )


def _random_filters() -> torch.Tensor:
    """Without a mean and of unit norm, always the same, ``[filters, 3, window, window]``."""
    drawn = torch.randn(_FILTERS, 3, _WINDOW, _WINDOW, generator=torch.Generator().manual_seed(0))
    drawn = drawn - drawn.mean((1, 2, 3), keepdim=True)
    return drawn / drawn.square().sum((1, 2, 3), keepdim=True).sqrt()


def _convolved(pixels: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """How strongly each filter answers in each quarter of images of equal contrast, ``[n, 8 * filters]``."""
    contrast = pixels.std((1, 2, 3), keepdim=True) + 0.05
    answers = F.conv2d((pixels - pixels.mean((1, 2, 3), keepdim=True)) / contrast, filters, padding="same")
    both = torch.cat([F.relu(answers - _THRESHOLD), F.relu(-answers - _THRESHOLD)], dim=1)
    return F.adaptive_avg_pool2d(both, 2).flatten(1).sqrt()


def _spectrum_slope(grey: torch.Tensor) -> torch.Tensor:
    """``[n, side, side]`` to ``[n]``: a least squares line through the power, averaged over directions."""
    side = grey.shape[-1]
    power = torch.fft.fft2(grey - grey.mean((1, 2), keepdim=True)).abs().square()
    frequency = torch.fft.fftfreq(side) * side
    radius = (frequency[:, None].square() + frequency[None].square()).sqrt().round().long()
    rings = F.one_hot(radius.clamp(max=side // 2)).float()[..., 1 : side // 2].flatten(0, 1)
    level = (power.flatten(1) @ rings / rings.sum(0) + 1e-6).log()
    x = torch.arange(1, side // 2).float().log()
    x = x - x.mean()
    return level @ x / x.square().sum()
