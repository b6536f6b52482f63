"""`Task`: the features of a dataset's images by class, and the random image sets drawn from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
import torch

from metad2a_plugin.errors import DatasetError


class Rows(Protocol):
    """Features of images by row, which are computed when they are asked for."""

    dim: int

    def __len__(self) -> int: ...
    def __getitem__(self, rows: torch.Tensor, /) -> torch.Tensor: ...


@dataclass(frozen=True)
class Task:
    """A classification dataset as a set encoder sees it.

    Attributes:
        features: image features, float32 ``[images, dim]``.
        labels: class of each image, int64 ``[images]``, values ``0 .. classes-1``, every class present.
        name: where it came from, for messages and reports.
        class_names: one name per class.
        encoder: name of the image encoder that made the features.
        images: of the whole dataset, of which `features` can be a sample; None where that is not known.
        statistics: what the pixels say, by name (`data.statistics.image_statistics`); None where that is not known.
    """

    features: torch.Tensor = field(repr=False)  # of many images, encoded when it is asked for
    labels: torch.Tensor
    name: str = "task"
    class_names: tuple[str, ...] = ()
    encoder: str = ""
    images: int | None = None
    statistics: Mapping[str, float] | None = None
    _members: tuple[np.ndarray, ...] = field(init=False, repr=False, compare=False)
    _rows: torch.Tensor | Rows = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        given = self.__dict__["features"]
        if not hasattr(given, "dim") or isinstance(given, (torch.Tensor, np.ndarray)):
            features = _features(given, self.name)
            object.__setattr__(self, "features", features)
            object.__setattr__(self, "_rows", features)
        else:
            object.__setattr__(self, "_rows", given)
            object.__delattr__(self, "features")
        labels = _classes(self.labels, self.name)
        object.__setattr__(self, "labels", labels)
        if len(self._rows) != len(labels) or len(labels) == 0:
            raise DatasetError(
                f"a task needs features [images, dim] and one label per image, got {len(self._rows)} images and "
                f"{len(labels)} labels"
            )
        counts = np.bincount(labels.numpy())
        if (counts == 0).any():
            raise DatasetError(f"class {int(np.argmin(counts))} of {self.name!r} has no image; drop the class")
        order = np.argsort(labels.numpy(), kind="stable")
        object.__setattr__(self, "_members", tuple(np.split(order, np.cumsum(counts)[:-1])))

    @classmethod
    def of_rows(cls, rows: Rows, labels: torch.Tensor, *about: Any) -> Task:
        """A task whose images are encoded when a draw, or `features`, asks for them.

        Args:
            rows: features by row.
            labels: class of each.
            *about: the other attributes, in their order.
        """
        return cls(cast(torch.Tensor, rows), labels, *about)

    def __getattr__(self, name: str) -> torch.Tensor:
        if name != "features" or "_rows" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        object.__setattr__(self, "features", self.rows(torch.arange(len(self.labels))))
        return self.features

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "features": self.features, "_rows": self.features}

    def rows(self, index: torch.Tensor) -> torch.Tensor:
        """Features float32 ``[..., dim]`` of images int64 ``[...]``: of many, only these need be encoded."""
        return self._rows[index]

    @property
    def dim(self) -> int:
        """Numbers an image."""
        return int(self._rows.shape[1]) if isinstance(self._rows, torch.Tensor) else self._rows.dim

    @property
    def num_classes(self) -> int:
        return len(self._members)

    def draw(
        self, draws: int = 10, *, images_per_class: int = 20, max_classes: int = 20, seed: int = 0
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
        return self.rows(torch.from_numpy(index))

    def sets(
        self, draws: int = 10, *, images_per_class: int = 50, max_classes: int = 20, seed: int = 0
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Random image sets without repetition: features ``[n, dim]``, and classes int64 ``[n]`` numbered from 0.

        At most `images_per_class` images of a class. Of more than `max_classes` classes, each draw takes a random
        subset (the meta-training tasks have 20). One draw is returned when nothing is left to chance.
        """
        rng = np.random.default_rng(seed)
        classes = min(self.num_classes, max_classes)
        if classes == self.num_classes and max(map(len, self._members)) <= images_per_class:
            draws = 1
        found = []
        for _ in range(draws):
            chosen = []
            for c in np.sort(rng.permutation(self.num_classes)[:classes]):
                members = self._members[c]
                chosen.append(rng.choice(members, min(len(members), images_per_class), replace=False))
            labels = torch.repeat_interleave(torch.arange(classes), torch.tensor([len(part) for part in chosen]))
            found.append((torch.from_numpy(np.concatenate(chosen)), labels))
        # Together, so that few batches are encoded.
        features = self.rows(torch.cat([index for index, _ in found])).split([len(index) for index, _ in found])
        return [(part, labels) for part, (_, labels) in zip(features, found, strict=True)]

    def prototypes(
        self, draws: int = 10, *, images_per_class: int = 50, max_classes: int = 20, seed: int = 0
    ) -> torch.Tensor:
        """Mean feature of each class of `sets`, float32 ``[draws, classes, dim]``; arguments as there."""
        sets = self.sets(draws, images_per_class=images_per_class, max_classes=max_classes, seed=seed)
        return torch.stack([class_means(*one) for one in sets])


def class_means(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean feature of each class, ``[classes, dim]``, of features ``[n, dim]`` in the order of their labels."""
    return torch.stack([part.mean(0) for part in features.split(labels.bincount().tolist())])


def _features(given: torch.Tensor | np.ndarray, name: str) -> torch.Tensor:
    try:
        features = torch.as_tensor(given).detach()
    except (RuntimeError, TypeError, ValueError) as error:
        raise DatasetError(
            f"a task needs features [images, dim], numbers, got {type(given).__name__} for {name!r} ({error}); make a "
            "task of images with extract_task(load_dataset(...))"
        ) from None
    if features.ndim != 2:
        raise DatasetError(f"a task needs features [images, dim], got shape {list(features.shape)} for {name!r}")
    if features.is_complex() or features.dtype == torch.bool:
        raise DatasetError(f"features are numbers, got {features.dtype} for {name!r}")
    if len(bad := (~torch.isfinite(features).all(1)).nonzero()):
        raise DatasetError(
            f"{len(bad)} of {len(features)} rows of features of {name!r} contain NaN or infinity (the first is row "
            f"{int(bad[0])}); leave those images out, or encode them again"
        )
    return features.float()


def _classes(given: torch.Tensor | np.ndarray, name: str) -> torch.Tensor:
    try:
        labels = torch.as_tensor(given).detach().cpu()
    except (RuntimeError, TypeError, ValueError):
        raise DatasetError(
            f"labels of {name!r} are {type(given).__name__}; expected the class of each image, whole numbers from 0 to "
            "classes-1 [images]"
        ) from None
    whole = labels.ndim == 1 and not labels.is_complex() and bool((labels == labels.long()).all())
    if not whole or (len(labels) and int(labels.min()) < 0):
        raise DatasetError(
            f"labels of {name!r} are {labels.dtype} of shape {list(labels.shape)}"
            + (f" from {labels.min().item():g}" if labels.numel() and not labels.is_complex() else "")
            + "; expected the class of each image, whole numbers from 0 to classes-1 [images]"
        )
    return labels.long()
