"""Tasks made of chosen classes of one large dataset, such as ImageNet's dogs."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from metad2a_plugin.data import ImageDataset, load_dataset
from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.utils.schema import mapping_of, read_json, text, why

_SIZE = 64  # pixels that a theme's images are kept at


def theme_datasets(images: ImageDataset, themes: Mapping[str, Mapping[str, str]]) -> dict[str, ImageDataset]:
    """A dataset of each theme.

    Args:
        images: whose class names the themes choose from.
        themes: by name, ``{class of images: what to call it}``.

    Raises:
        ConfigError: a theme is not as said, or names a class that `images` lacks.
        DatasetError: an image is broken, or a theme has fewer than two classes.
    """
    index = {name: i for i, name in enumerate(images.class_names)}
    datasets = {}
    for theme, names in themes.items():
        if not isinstance(names, Mapping) or not all(isinstance(v, str) for v in names.values()):
            raise ConfigError(f"the theme {theme!r} must map classes of the images to names, got {said(names)}")
        if missing := sorted(names.keys() - index.keys()):
            raise ConfigError(f"the theme {theme!r} names the class {missing[0]!r}, which {images.name!r} has not")
        called = {index[name]: title for name, title in names.items()}
        chosen = images.subset(np.isin(images.labels, list(called)))
        pixels = chosen.images(range(len(chosen)), _SIZE)
        datasets[theme] = load_dataset((pixels, np.array([called[c] for c in chosen.labels])), name=theme)
    return datasets


def read_themes(path: str | os.PathLike[str]) -> dict[str, dict[str, str]]:
    """The themes of a JSON file, ``{theme: {class: name}}``.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return mapping_of(mapping_of(text(1, 1000)))(read_json(path), "the themes")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read themes from {str(path)!r} ({why(error)}); it must be JSON {{theme: {{class: name}}}}"
        ) from None
