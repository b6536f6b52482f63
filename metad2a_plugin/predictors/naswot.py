"""NASWOT: scores untrained networks by how differently they see different images.

Mellor, Turner, Storkey and Crowley, *Neural Architecture Search without Training*, ICML 2021, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from metad2a_plugin.data import ImageDataset, Task, load_dataset
from metad2a_plugin.errors import ConfigError, DatasetError
from metad2a_plugin.nn.relus import visit_relus
from metad2a_plugin.plugins.predictor import Prediction, Predictor
from metad2a_plugin.spaces.base import Architecture, Architectures, SearchSpace
from metad2a_plugin.utils.checks import integer
from metad2a_plugin.utils.progress import stages
from metad2a_plugin.utils.torch_device import refuse_other_dtypes, seeded, usable

BLOCKS = 4
"""The matrix is symmetric: of so many rows and columns of blocks, those below the diagonal are left out."""


class Agreement:
    """The kernel matrix: on how many ReLUs each two images agree, K_ij = N_A - Hamming(c_i, c_j) (equation 2).

    Args:
        images: how many, n.
        device: of the inputs to come.

    Attributes:
        units: N_A, how many ReLUs there are.
    """

    def __init__(self, images: int, device: torch.device | str = "cpu") -> None:
        self.images, self.units = images, 0
        self._both_on = torch.zeros(images, images, dtype=torch.float64, device=device)
        self._bits = torch.empty(0, device=device)

    def add(self, values: torch.Tensor, times: int = 1) -> None:
        """Count ReLU inputs ``[n, ...]``, each for so many ReLUs.

        Raises:
            ConfigError: another first dimension.
        """
        if values.ndim < 2 or len(values) != self.images:
            raise ConfigError(
                f"a ReLU is given a tensor of shape {list(values.shape)}; expected [{self.images}, ...], a row an image"
            )
        if not any(values.stride()):  # one number, expanded: all images agree
            units = times * (values.numel() // self.images)
            self._both_on += units * (values.flatten()[0] > 0)
            self.units += units
            return
        if values.ndim == 4:  # the order of the units is of no account, that in memory is quickest
            values = values.permute(0, 2, 3, 1)
        rows = values.reshape(self.images, -1)
        if self._bits.numel() < rows.numel():
            self._bits = torch.empty(rows.numel(), device=rows.device)
        bits = torch.gt(rows, 0, out=self._bits[: rows.numel()].view_as(rows))
        # Sums of up to 2**24 zeros and ones are exact in float32.
        start = 0
        for block in bits.split(-(-self.images // BLOCKS)):
            end = start + len(block)
            self._both_on[:end, start:end] += times * (bits[:end] @ block.T)
            start = end
        self.units += times * rows.shape[1]

    def matrix(self) -> torch.Tensor:
        """K, float64 ``[n, n]``: agreement is both on or both off."""
        both = self._both_on.triu()
        both = both + both.triu(1).T
        alone = both.diagonal()
        return self.units - alone[:, None] - alone[None] + 2 * both

    def score(self) -> float:
        """Log |det K|, with eigenvalues below 1 taken as 1; see `activation_score`.

        Raises:
            ConfigError: there was no ReLU.
        """
        if not self.units:
            raise ConfigError("the network has applied none of its ReLUs, so there is nothing to score")
        return float(torch.linalg.eigvalsh(self.matrix()).clamp(min=1).log().sum())


def activation_score(network: nn.Module, images: torch.Tensor) -> float:
    """NASWOT's score of a network on a minibatch: log |det K|; higher is better.

    K_ij counts the ReLUs on which images i and j agree, over every application of a ReLU in one forward pass in
    training mode (batch norm by the statistics of the minibatch, as in the paper). The score is not divided by the
    number of ReLUs: networks with more of them score higher, as in the paper.

    K is singular where two images look the same to every ReLU, as to a network that its input does not pass, or where
    an image is in the batch twice; its determinant would be 0. So eigenvalues below 1, which is what two images that
    differ on a single ReLU give, are taken as 1: the score is finite, at the least log(n N_A) for n images that are
    all alike to N_A ReLUs, and unchanged where no eigenvalue is below 1.

    Args:
        network: any whose ReLUs are modules, `nn.ReLU` or `nn.ReLU6`; afterwards it is as it was.
        images: ``[n, channels, height, width]``, normalised, on the device of the network.

    Raises:
        ConfigError: no ReLU, one that is given anything but a row for each image, or fewer than two images.
    """
    if len(images) < 2:
        raise ConfigError(f"a minibatch needs two images or more to tell apart, got {len(images)}")
    agreement = Agreement(len(images), images.device)
    with seeded((0,), images.device):  # for layers that draw, such as dropout
        visit_relus(network, images, agreement.add)
    return agreement.score()


class NASWOTPredictor(Predictor):
    """Scores each architecture by `activation_score` of its untrained network, on a minibatch of a dataset's images.

    An architecture's weights depend on it and the seed alone, so scores do not depend on which others are scored.
    Hard-swish and other activations that are no ReLU do not count.

    Args:
        space: the search space.
        dataset: images, anything that `load_dataset` reads; labels are not used.
        batch_size: images in the minibatch, 128 in the paper; all, where the dataset has fewer.
        seed: of the choice of images and of all initial weights.
        input_size: side of the images, in pixels; None takes the space's own.
        device: a torch device.
        progress: show a progress bar where stderr is a terminal.
        **options: for `SearchSpace.build`, such as `channels` and `cells` of nasbench201.

    Raises:
        ConfigError: no images, or an option that the space does not take.
        DatasetError: the dataset cannot be read, or has a single image.
    """

    scale = (
        "Scores are log-determinants of untrained networks (NASWOT): they rank networks of one space on one minibatch, "
        "and say nothing about accuracy."
    )
    candidates = 100
    network: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        space: SearchSpace,
        dataset: Any = None,
        *,
        batch_size: int = 128,
        seed: int = 0,
        input_size: int | None = None,
        device: str = "cpu",
        progress: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(space)
        integer("batch_size", batch_size, 2)
        integer("seed", seed, 0)
        if dataset is None or isinstance(dataset, Task):
            given = "none were given" if dataset is None else "a Task holds features of images"
            raise ConfigError(
                f"NASWOT needs images, and {given}: give dataset=..., anything that load_dataset reads, such as a "
                "folder of class folders"
            )
        if input_size is not None:
            integer("input_size", input_size, 1)
        refuse_other_dtypes()
        self.seed, self.progress, self.network = seed, progress, options
        self.device = usable(device)
        try:
            space.check_options(options)  # before the images are read
        except ConfigError as error:
            own = "batch_size, seed, input_size, device, progress"
            raise ConfigError(f"NASWOT's own options are {own}, others are of the network: {error}") from None
        images = load_dataset(dataset)
        self.num_classes = images.num_classes
        size = space.input_size if input_size is None else input_size
        self.images = minibatch(images, batch_size, size, seed).to(self.device, memory_format=torch.channels_last)

    def predict(self, task: Task | None, architectures: Architectures) -> Prediction:
        refuse_other_dtypes()
        asked = [self.space.validate(architecture) for architecture in self.space.decode(architectures)]
        wanted, scores = dict.fromkeys(asked), dict[Architecture, float]()
        with stages(self.progress, brief=True) as report:
            for architecture in wanted:
                report("Scoring networks", len(scores), len(wanted), "")
                scores[architecture] = self._score(architecture)
        return Prediction(torch.tensor([scores[architecture] for architecture in asked], dtype=torch.float32))

    def _score(self, architecture: Architecture) -> float:
        agreement = Agreement(len(self.images), self.device)
        with seeded((self.seed, *architecture.choices), self.device):
            network = self.space.build(architecture, self.num_classes, **self.network).to(self.device)
            self.space.visit_relus(network, self.images, agreement.add)
        return agreement.score()


def minibatch(dataset: ImageDataset, count: int, size: int, seed: int) -> torch.Tensor:
    """So many random images, or all where there are fewer, normalised per channel; float32 ``[n, 3, size, size]``.

    Raises:
        DatasetError: fewer than two images.
    """
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
    pixels, broken = dataset.decode(chosen, size)
    if broken:
        return minibatch(dataset.verified(size), count, size, seed)
    if len(pixels) < 2:
        raise DatasetError(f"{dataset.name!r} has {len(pixels)} image(s); NASWOT needs two or more to tell apart")
    values = pixels.float()
    std, mean = torch.std_mean(values, (0, 2, 3), keepdim=True, correction=0)
    return (values - mean) / std.clamp(min=1)
