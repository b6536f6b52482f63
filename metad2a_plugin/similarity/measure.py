"""From a dataset to its small network, and from a network and a dataset to its Fisher information there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from metad2a_plugin._checks import FINITE, TINY, one_of, settings
from metad2a_plugin._device import usable
from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.similarity.backbones import BACKBONES, TaskNetwork
from metad2a_plugin.similarity.fisher import Fisher, diagonal_fisher
from metad2a_plugin.training import TrainConfig, TrainingData, prepare, train_network

_RIDGE = 1e-2  # of the fitted head, on features of unit variance
_LEAST = {"input_size": 8, "images": 4, "steps": 1, "batch_size": 2, "fisher_images": 1, "seed": 0, "init_seed": 0}
_RANGES: dict[str, tuple[float, float, str]] = {"lr": (TINY, FINITE, "a positive number, such as 0.01")}


@dataclass(frozen=True)
class TaskConfig:
    """How tasks are compared: networks of one configuration can be compared, no others.

    Attributes:
        backbone: one of `BACKBONES`.
        input_size: side of the square images, in pixels.
        images: of a dataset, at most, evenly over its classes; a tenth is held out to report an accuracy.
        steps: of training, the same for small and large datasets but for whole epochs.
        batch_size: largest batch.
        lr: highest learning rate; low, because networks that move far from their common start no longer compare weight
            by weight.
        flip: mirror images at random while training.
        fisher_images: training images of the target, at most, that Fisher information is measured on.
        init_seed: of the initial weights, which all networks share.
        seed: of everything else.
        device: where networks run.

    Raises:
        ConfigError: a value is out of range.
    """

    backbone: str = "plain"
    input_size: int = 24
    images: int = 2000
    steps: int = 800
    batch_size: int = 64
    lr: float = 0.01
    flip: bool = False
    fisher_images: int = 500
    init_seed: int = 0
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        settings(self, _LEAST, _RANGES)
        one_of("backbone", self.backbone, BACKBONES)

    def training(self, images: int) -> TrainConfig:
        """The settings of a training on so many images, a number of whole epochs."""
        batches = -(-images // self.batch_size)
        return TrainConfig(
            epochs=max(1, round(self.steps / batches)),
            batch_size=self.batch_size,
            lr=self.lr,
            flip=self.flip,
            input_size=self.input_size,
            validation=0.1,
            seed=self.seed,
            split_seed=self.seed,
            device=self.device,
        )


def task_data(dataset: ImageDataset, config: TaskConfig) -> TrainingData:
    """The images of a dataset that its network is trained on, and those held out.

    Raises:
        DatasetError: no class has two images, or too many images are broken.
    """
    sampled = dataset.sample(max(2, config.images // dataset.num_classes), config.seed)
    return prepare(sampled, config.training(len(sampled)))


def train_task_network(data: TrainingData, config: TaskConfig) -> TaskNetwork:
    """The network that stands for a task, in evaluation mode on the CPU.

    Its weights are rounded to half precision, as libraries keep them, so that a known task that is met again is at
    distance 0.

    Raises:
        ConfigError: the loss is not finite.
    """
    network = TaskNetwork(config.backbone, len(data.class_names), config.init_seed)
    train_network(network, data, config.training(len(data.labels)))
    return network.eval().cpu().half().float()


def fisher_on(network: TaskNetwork, data: TrainingData, config: TaskConfig) -> Fisher:
    """Fisher information of a network's backbone on the data of a target task, which may have other classes.

    Tasks differ in their classes, so the source's own head says nothing about the target's labels. The backbone is
    therefore given a new linear head: multinomial logistic regression of the target's labels on its features of all
    training images, which is convex, so that it has one solution and no seed. The target's own network is treated
    alike: a task's distance to itself is 0, and no network has the advantage of a head trained along with it.

    Args:
        network: of `train_task_network`.
        data: of the target; only training images are looked at.
        config: of the comparison.
    """
    device = usable(config.device)
    images, labels = data.images.to(device), data.labels.to(device)
    return fisher_of(with_fitted_head(network.to(device), images, labels, len(data.class_names)), data, config)


def fisher_of(
    network: TaskNetwork, data: TrainingData, config: TaskConfig, labels: torch.Tensor | None = None
) -> Fisher:
    """Fisher information of a network's backbone with the head that it has, on the same images as `fisher_on`.

    Args:
        network: its head is for the target's classes, unless `labels` are given.
        data: of the target.
        config: of the comparison.
        labels: of all training images, int64 ``[n]``; None takes the dataset's.
    """
    device = network.head.weight.device
    labels = data.labels if labels is None else labels
    chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(config.seed))[: config.fisher_images]
    images, labels = data.images[chosen].to(device), labels[chosen].to(device)
    counted = [name for name, _ in network.named_parameters() if name.startswith("backbone.")]
    found = diagonal_fisher(network, images, labels, parameters=counted)
    return {name: value.cpu() for name, value in found.items()}


def with_fitted_head(
    network: TaskNetwork, images: torch.Tensor, labels: torch.Tensor, num_classes: int
) -> TaskNetwork:
    """The same backbone with a linear head fitted to some images, uint8 ``[n, 3, size, size]``, and labels ``[n]``."""
    with torch.no_grad():
        features = torch.cat([network.features(part) for part in images.split(256)]).double()
    mean, std = features.mean(0), features.std(0, correction=0).clamp(min=1e-6)
    weight, bias = _logistic((features - mean) / std, labels, num_classes)
    return network.with_head(weight / std, bias - weight @ (mean / std))


def _logistic(features: torch.Tensor, labels: torch.Tensor, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight ``[classes, d]`` and bias ``[classes]`` of a multinomial logistic regression on ``[n, d]``."""
    weight = features.new_zeros(num_classes, features.shape[1], requires_grad=True)
    bias = features.new_zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(features @ weight.T + bias, labels)
        loss = loss + _RIDGE / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), bias.detach()


@torch.no_grad()
def accuracy(network: TaskNetwork, data: TrainingData) -> float:
    """Percent of the validation images that a network answers rightly."""
    device = network.head.weight.device
    answers = torch.cat([network(part.to(device)).argmax(1).cpu() for part in data.validation_images.split(256)])
    return 100 * (answers == data.validation_labels).double().mean().item()
