"""From a dataset to its small network, and from a network and a dataset to its Fisher information there."""

from __future__ import annotations

import torch

from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.similarity.backbones import TaskNetwork
from metad2a_plugin.similarity.config import TaskConfig
from metad2a_plugin.similarity.fisher import Fisher, diagonal_fisher
from metad2a_plugin.training.fit import train_network
from metad2a_plugin.training.images import TrainingData, prepare
from metad2a_plugin.utils.torch_device import usable


def task_data(dataset: ImageDataset, config: TaskConfig) -> TrainingData:
    """The images of a dataset that its network is trained on, and those held out.

    Raises:
        DatasetError: no class has two images, or too many images are broken.
    """
    sampled = dataset.alone().sample(max(2, config.images // dataset.num_classes), config.seed)
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
    """Fisher information of a network's backbone on the images of a target task, which may have other classes.

    The source keeps its own head and the labels are sampled from its answers. That is what Fisher information is, the
    expected squared gradient under the model's own distribution, and it asks for no labels in the source's classes,
    which the target has not. The target's labels count through its network, which has learned them. That network is
    treated alike, so that a task's distance to itself is 0. A head fitted anew to the target's labels was tried too:
    ``benchmarks/fisher_orders.py`` compares them.

    Args:
        network: of `train_task_network`.
        data: of the target; only training images are looked at.
        config: of the comparison.
    """
    device = usable(config.device)
    network = network.to(device)
    with torch.no_grad():
        answers = torch.cat([network(part.to(device)).softmax(1).cpu() for part in data.images.split(256)])
    labels = torch.multinomial(answers, 1, generator=torch.Generator().manual_seed(config.seed))[:, 0]
    return fisher_of(network, data, config, labels)


def fisher_of(network: TaskNetwork, data: TrainingData, config: TaskConfig, labels: torch.Tensor) -> Fisher:
    """As `fisher_on`, on the same images, for other labels of the training images, int64 ``[n]``."""
    device = network.head.weight.device
    chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(config.seed))[: config.fisher_images]
    images, answers = data.images[chosen].to(device), labels[chosen].to(device)
    counted = [name for name, _ in network.named_parameters() if name.startswith("backbone.")]
    found = diagonal_fisher(network, images, answers, parameters=counted)
    return {name: value.cpu() for name, value in found.items()}


@torch.no_grad()
def accuracy(network: TaskNetwork, data: TrainingData) -> float:
    """Percent of the validation images that a network answers rightly."""
    device = network.head.weight.device
    answers = torch.cat([network(part.to(device)).argmax(1).cpu() for part in data.validation_images.split(256)])
    return 100 * (answers == data.validation_labels).double().mean().item()
