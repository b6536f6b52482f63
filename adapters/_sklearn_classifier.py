"""A network within a time as a classifier of scikit-learn."""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from numbers import Integral
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from metad2a_plugin.contest.config import AutoConfig, seconds_of
from metad2a_plugin.contest.result import measured
from metad2a_plugin.contest.run import auto
from metad2a_plugin.data import ImageDataset
from metad2a_plugin.data.arrays import ArraySource
from metad2a_plugin.data.checks import check_classes
from metad2a_plugin.data.pixels import DatasetWarning, as_numpy, channel_axis, is_tensor
from metad2a_plugin.data.scale import PLAIN, Scale, find_scale
from metad2a_plugin.data.sources import Reading
from metad2a_plugin.data.streamed import StreamedPixels
from metad2a_plugin.errors import ConfigError, DatasetError, said
from metad2a_plugin.plugins.registry import DEFAULT_SPACE, get_space
from metad2a_plugin.utils.torch_device import usable

SQUARE = "square"
_BEYOND, _BLACK = 0.1, 1 / 12
"""Of white: what pixels may lie beyond that of `fit`, and below which all of them are almost black."""
_LEAST = 4
"""Images of a run: three of a class, so that each part has one, and one of another."""
_TEST = 1e-9
"""Share of the images that nothing is chosen by: one of each class. Here whoever calls `fit` keeps others for that."""


class MetaD2AClassifier(ClassifierMixin, BaseEstimator):
    """The best network for images that `contest.run.auto` finds within a time.

    Images are arrays of pixels 0..255 or 0..1, ``[n, h, w]`` or ``[n, h, w, c]`` with 1, 3 or 4 channels; tensors may
    be ``[n, c, h, w]``; or flat rows ``[n, features]`` with `shape`. Which value is white is decided once, in `fit`.

    Args:
        space: search space of the designs; so far ``nasbench201``.
        time: for each `fit`, in seconds or as a text such as ``"5m"``; at least ten seconds.
        shape: of the image in a flat row, ``(h, w)``, ``(h, w, c)`` or ``(c, h, w)``; ``"square"`` lays rows of any
            length out in the smallest grey square that holds them, the rest of it black. None expects images.
        max_params, max_flops: limits of the network, in millions.
        max_latency: limits in milliseconds, by device.
        encoders, flip, refit, device: as in `AutoConfig`.
        random_state: of everything random. Time decides how long networks train, so that two fits still differ.

    Attributes:
        classes_: the labels, ``[classes]``, in the order of the columns of `predict_proba`.
        n_features_in_: pixels times channels of an image.
        feature_names_in_: names of the columns, where `fit` was given a data frame.
        image_shape_: ``(h, w, c)``.
        scale_: the pixel values that are black and white.
        network_: the trained network, a `torch.nn.Module` of uint8 images ``[n, 3, size, size]``.
        source_: what it comes from: a reference or a training, in words.
        validation_score_: its accuracy, 0 to 1, on the part of the images that it was chosen by.
    """

    def __init__(
        self,
        space: str = DEFAULT_SPACE,
        time: float | str = 300,
        *,
        shape: Sequence[int] | str | None = None,
        max_params: float | None = None,
        max_flops: float | None = None,
        max_latency: Mapping[str, float] | None = None,
        encoders: Sequence[str] | None = None,
        flip: bool | None = None,
        refit: bool = False,
        device: str = "auto",
        random_state: Any = 0,
    ) -> None:
        self.space = space
        self.time = time
        self.shape = shape
        self.max_params = max_params
        self.max_flops = max_flops
        self.max_latency = max_latency
        self.encoders = encoders
        self.flip = flip
        self.refit = refit
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> MetaD2AClassifier:  # noqa: N803 - as scikit-learn calls it
        """Find and train a network; takes about `time`.

        Args:
            X: images, see above.
            y: a class of each, ``[n]``, at least three images of one class; numbers or texts.

        Raises:
            ConfigError: an argument is out of range, or nothing fits in the time within the limits.
            DatasetError: the images cannot be used.
            KeyboardInterrupt: Ctrl-C was pressed; the estimator has the best network so far.
        """
        if get_space(self.space).name != DEFAULT_SPACE:
            raise ConfigError(f"a network within a time is of the space {DEFAULT_SPACE!r} so far, not {self.space!r}")
        config = AutoConfig(
            seconds=seconds_of(self.time) if isinstance(self.time, str) else self.time,
            flip=self.flip,
            encoders=self.encoders,
            refit=self.refit,
            test=_TEST,
            seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
            device=self.device,
        )
        limits = {name: getattr(self, name) for name in ("max_params", "max_flops", "max_latency")}
        rows, shape = _rows_of(X)
        rows, y = validate_data(self, rows, y, dtype="numeric", ensure_min_samples=_LEAST)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        self.image_shape_ = self._shape(shape)
        _refuse_negative(rows)
        self.scale_ = find_scale([rows], "X")
        names = tuple(str(name) for name in self.classes_)
        check_classes("y", labels, names)
        images = self._images(rows, shape is None, labels, names)
        with TemporaryDirectory(prefix="metad2a-") as folder:
            given = {name: limit for name, limit in limits.items() if limit is not None}
            found = auto(images, os.path.join(folder, "run"), config, limits=given)
        self.network_ = found.network.eval()
        self.source_, self.validation_score_ = found.source_title, found.validation / 100
        if found.interrupted:
            raise KeyboardInterrupt
        return self

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Probability of each class, float64 ``[n, classes]``; images as in `fit`, of the same shape.

        Raises:
            DatasetError: images of another shape, or no pixels.
            sklearn.exceptions.NotFittedError: `fit` was not called.
        """
        check_is_fitted(self)
        rows, shape = _rows_of(X)
        rows = validate_data(self, rows, reset=False, dtype="numeric")
        if shape is not None and self._shape(shape) != self.image_shape_:
            raise DatasetError(f"images are {list(shape)}, those of fit were {list(self.image_shape_)}; resize them")
        _warn_of_another_scale(rows, self.scale_)
        labels, names = np.zeros(len(rows), np.int64), self.network_.class_names
        images, device = self._images(rows, shape is None, labels, names), usable(self.device)
        network = self.network_ if device.type == "cpu" else copy.deepcopy(self.network_).to(device)
        logits = measured(network, StreamedPixels(images, network.input_size), torch.from_numpy(labels)).logits
        found: np.ndarray = logits.double().softmax(1).numpy()
        return found

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """The most probable class of each image, ``[n]``, as given to `fit`; errors as of `predict_proba`."""
        chosen = self.predict_proba(X).argmax(1)
        return np.asarray(self.classes_[chosen])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self.shape is not None
        tags.input_tags.three_d_array = True
        tags.input_tags.positive_only = True
        tags.non_deterministic = True
        return tags

    # -- private ---------------------------------------------------------------------------------
    def _shape(self, found: tuple[int, ...] | None) -> tuple[int, ...]:
        """``(h, w, c)`` of the images, where `found` is that of an array, and None of rows."""
        if found is not None:
            return found
        count, shape = self.n_features_in_, self.shape
        if shape is None:
            raise DatasetError(
                f"X has rows of {count} numbers, expected images [n, h, w] or [n, h, w, c]; say what a row is, such as "
                "MetaD2AClassifier(shape=(28, 28)), or (32, 32, 3)"
            )
        if shape == SQUARE:
            side = math.ceil(math.sqrt(count))
            return side, side, 1
        sides = tuple(shape) if isinstance(shape, (tuple, list)) else ()
        whole = all(isinstance(side, Integral) and int(side) > 0 for side in sides)
        if not whole or len(sides) not in (2, 3) or math.prod(sides) != count:
            raise ConfigError(
                f"shape must be (h, w) or (h, w, c) of the {count} numbers of a row, or {SQUARE!r}, got {said(shape)}"
            )
        axis = channel_axis(sides, channels_first=False)
        return (*sides, 1) if axis is None else (*sides[:axis], *sides[axis + 1 :], sides[axis])

    def _images(self, rows: np.ndarray, flat: bool, labels: np.ndarray, names: tuple[str, ...]) -> ImageDataset:
        height, width, channels = self.image_shape_
        pixels = self.scale_.to_uint8(rows)
        if missing := height * width * channels - pixels.shape[1]:
            pixels = np.pad(pixels, ((0, 0), (0, missing)))
        if flat and channels > 1 and tuple(self.shape or ())[-1] != channels:  # planes of colours, one after the other
            pixels = np.moveaxis(pixels.reshape(-1, channels, height, width), 1, -1)
        source = ArraySource(pixels.reshape(-1, height, width, channels), 2, PLAIN)
        return ImageDataset(Reading(source, labels.astype(np.int64), names, "X"))


def _rows_of(given: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Images as rows, and the shape ``(h, w, c)`` of one; what are rows stays as it is, without a shape."""
    if hasattr(given, "iloc") or (pixels := as_numpy(given)).ndim < 3:
        return given, None
    axis = channel_axis(pixels.shape[1:], channels_first=is_tensor(given))
    pixels = pixels[..., None] if axis is None else np.moveaxis(pixels, axis + 1, -1)
    return pixels.reshape(len(pixels), -1), pixels.shape[1:]


def _refuse_negative(rows: np.ndarray) -> None:
    if rows.dtype.kind in "if" and rows.min() < 0:
        raise DatasetError(
            f"Negative values in data passed to MetaD2AClassifier: pixels run from {rows.min():.3g} to "
            f"{rows.max():.3g}, expected 0..1 or 0..255. Leave out a StandardScaler, or whatever else normalises them"
        )


def _warn_of_another_scale(rows: np.ndarray, scale: Scale) -> None:
    """That `fit` was given, or uint8, whose white is always 255."""
    if rows.dtype == np.bool_:
        return
    white = 255.0 if rows.dtype == np.uint8 else scale.white
    low, high = float(rows.min()), float(rows.max())
    if low < -_BEYOND * white or high > (1 + _BEYOND) * white:
        what = "what is beyond is cut off"
    elif 0 < high < _BLACK * white:
        what = "they are almost black"
    else:
        return
    warnings.warn(
        f"pixels run from {low:.3g} to {high:.3g}, and white is {white:g} since fit: {what}. Give images of the same "
        "scale as to fit",
        DatasetWarning,
        stacklevel=4,
    )
