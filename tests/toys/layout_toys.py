"""Trees of tiny images, as people bring them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_tree(root: Path, files: dict[str, int], start: int = 0) -> Path:
    """Images in folders below a root: how many of each, or of a path with a suffix that one file."""
    for folder, count in files.items():
        path = root / folder
        if path.suffix in (".png", ".jpg", ".tif"):
            write_image(path, count)
            continue
        for i in range(start, start + count):
            write_image(path / f"{i}.png", i)
    return root


def write_image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, *path.as_posix().encode()])
    Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).save(path)


def classes(part: str, count: int = 3, names: str = "cat dog fish") -> dict[str, int]:
    """Class folders below a folder, for `write_tree`."""
    return {f"{part}/{name}".lstrip("/"): count for name in names.split()}
