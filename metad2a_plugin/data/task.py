"""`Task`: the features of a dataset's images by class, and the random image sets drawn from them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from metad2a_plugin.errors import DatasetError

MAX_CLASSES = 20
"""Classes of a meta-training task; of a dataset that has more, random subsets are looked at."""


@dataclass(frozen=True)
class Task:
    """A classification dataset as a set encoder sees it.

    Attributes:
        features: image features, float32 ``[images, dim]``.
        labels: class of each image, int64 ``[images]``, values ``0 .. classes-1``, every class present.
        name: where it came from, for messages and reports.
        class_names: one name per class.
        encoder: name of the image encoder that made the features.
    """

    features: torch.Tensor
    labels: torch.Tensor
    name: str = "task"
    class_names: tuple[str, ...] = ()
    encoder: str = ""
    _members: tuple[np.ndarray, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or len(self.features) != len(self.labels) or len(self.labels) == 0:
            raise DatasetError(
                f"a task needs features [images, dim] and one label per image, got "
                f"{tuple(self.features.shape)} and {tuple(self.labels.shape)}"
            )
        labels = self.labels.cpu().numpy()
        counts = np.bincount(labels)
        if (counts == 0).any():
            raise DatasetError(f"class {int(np.argmin(counts))} of {self.name!r} has no image; drop the class")
        order = np.argsort(labels, kind="stable")
        object.__setattr__(self, "_members", tuple(np.split(order, np.cumsum(counts)[:-1])))

    @property
    def num_classes(self) -> int:
        return len(self._members)

    def draw(
        self, draws: int = 10, *, images_per_class: int = 20, max_classes: int = MAX_CLASSES, seed: int = 0
    ) -> torch.Tensor:
        """Random image sets, float32 ``[draws, classes, images_per_class, dim]``.

        A class with fewer images than asked for is drawn from with replacement; of more than
        `max_classes` classes, each draw takes a random subset (the meta-training tasks have 20).
        """
        rng = np.random.default_rng(seed)
        classes = min(self.num_classes, max_classes)
        index = np.empty((draws, classes, images_per_class), dtype=np.int64)
        for d in range(draws):
            chosen = rng.permutation(self.num_classes)[:classes] if classes < self.num_classes else range(classes)
            for row, c in enumerate(chosen):
                members = self._members[c]
                index[d, row] = rng.choice(members, images_per_class, replace=len(members) < images_per_class)
        return self.features[torch.from_numpy(index)]

    def prototypes(
        self, draws: int = 10, *, images_per_class: int = 50, max_classes: int = MAX_CLASSES, seed: int = 0
    ) -> torch.Tensor:
        """Mean feature of each class over at most `images_per_class` images, float32 ``[draws, classes, dim]``.

        Of more than `max_classes` classes, each draw takes a random subset (the meta-training tasks have 20).
        One draw is returned when nothing is left to chance.
        """
        drawn = self._subsets(draws, images_per_class, max_classes, seed)
        return torch.stack([torch.stack([self.features[chosen].mean(0) for chosen in classes]) for classes in drawn])

    def subsets(
        self, draws: int = 10, *, images_per_class: int = 50, max_classes: int = MAX_CLASSES, seed: int = 0
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Features ``[n, dim]`` and classes ``[n]`` of the images that `prototypes` takes the means of, by draw."""
        return [
            (
                self.features[torch.cat(classes)],
                torch.arange(len(classes)).repeat_interleave(torch.tensor([len(chosen) for chosen in classes])),
            )
            for classes in self._subsets(draws, images_per_class, max_classes, seed)
        ]

    def _subsets(
        self, draws: int, images_per_class: int, max_classes: int, seed: int
    ) -> list[list[torch.Tensor]]:
        """Indices of images, by draw and class."""
        rng = np.random.default_rng(seed)
        classes = min(self.num_classes, max_classes)
        if classes == self.num_classes and max(map(len, self._members)) <= images_per_class:
            draws = 1
        drawn = []
        for _ in range(draws):
            members = [self._members[c] for c in np.sort(rng.permutation(self.num_classes)[:classes])]
            chosen = [rng.choice(m, min(len(m), images_per_class), replace=False) for m in members]
            drawn.append([torch.from_numpy(c) for c in chosen])
        return drawn
