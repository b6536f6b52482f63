"""What is said of a listing while its classes are looked for: warnings, refusals, and what was left out."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import NoReturn

from metad2a_plugin.data import words
from metad2a_plugin.data.pixels import DatasetWarning, few
from metad2a_plugin.data.tree import Images, Parts
from metad2a_plugin.errors import DatasetError

FOLDER_HELP = "Expected a folder of class folders, such as flowers/rose/1.jpg and flowers/tulip/2.jpg"


class Notes:
    """Messages about one folder or zip.

    Args:
        what: the source.
        where: how a folder inside of it is called, by its path.

    Attributes:
        left_out: what was left out, each a few words.
    """

    def __init__(self, what: str, where: Callable[[Parts], str]) -> None:
        self.what, self.where = what, where
        self.left_out: list[str] = []

    def leave_out(self, thing: str, how: str) -> None:
        """Warn that something is left out, and keep it for the summary."""
        self.left_out.append(thing)
        self.warn(f"{thing} {how}")

    def warn(self, text: str) -> None:
        """A warning about the source; `text` goes on after its name where it begins with ``is`` or ``has``."""
        joint = " " if text.startswith(("is ", "has ")) else ": "
        warnings.warn(f"{self.what}{joint}{text}", DatasetWarning, stacklevel=2)

    def path(self, top: Images) -> str:
        """How the first folder of these images is passed."""
        path, folders = top[0]
        return self.where(path[: len(path) - len(folders)])

    def pass_one(self, top: Images) -> str:
        """The advice to pass one folder of several."""
        return f"To use one of them, pass it, such as {self.path(top)}"

    def refuse_flat(self, images: Images) -> NoReturn:
        """Refuse images without class folders.

        Raises:
            DatasetError: always.
        """
        names = [image.path[-1] for image in images]
        root = images[0].path[:-1]
        where = f" in {'/'.join(root)}/" if root else ""
        begins = Counter(next(iter(words.words(name)), "") for name in names)
        hint = ""
        if 1 < len(begins) <= len(names) / 3 and not any(begin.isdigit() for begin in begins):
            hint = f" (their names begin with {few(sorted(begins))}: these may be the classes)"
        raise DatasetError(
            f"{self.what} has {len(images)} images{where} ({few(names)}) but no class folders. {FOLDER_HELP}: "
            f"make one folder per class and move the images into them{hint}"
        )


def count(images: Images) -> str:
    """How many images there are, in brackets."""
    return f" ({len(images)} images)"
