"""Images in their folders, as `metad2a_plugin.data.layout` looks at them: what lies where, and what is alike."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from metad2a_plugin.data import words

Parts = tuple[str, ...]


class Candidate(NamedTuple):
    """An image, and those of its folders that may be its class: wrapping folders and parts of splits are gone."""

    path: Parts
    folders: Parts


Images = list[Candidate]


def by_top(images: Images) -> dict[str, Images]:
    """Images by their first folder, and those that lie in none by ``""``."""
    tops: dict[str, Images] = defaultdict(list)
    for image in images:
        tops[image.folders[0] if image.folders else ""].append(image)
    return dict(tops)


def stripped(images: Images) -> Images:
    """The same one folder further in."""
    return [Candidate(image.path, image.folders[1:]) for image in images]


def folders_below(top: Images) -> set[Parts]:
    """Where inside of their first folder the images lie; ``()`` is right in it."""
    return {image.folders[1:] for image in top}


def wraps(below: set[Parts]) -> bool:
    """Whether a folder that is alone only wraps those inside of it, by `folders_below`."""
    names = {folders[0] for folders in below if folders}
    if len(names) != 1:
        return len(names) > 1
    return () not in below or len(_names({folders[1:] for folders in below if folders})) > 1


def _names(below: set[Parts]) -> frozenset[str]:
    """The names of the folders past wrapping ones."""
    while True:
        names = {folders[0] for folders in below if folders}
        inner = {folders[1:] for folders in below if folders}
        if len(names) != 1 or not wraps(inner):
            return frozenset(names)
        below = inner


def unwrapped(images: Images) -> Images:
    """Images past wrapping folders."""
    while True:
        inside = [image for image in images if image.folders]
        if len({image.folders[0] for image in inside}) != 1 or not wraps(folders_below(inside)):
            return images
        images = stripped(inside)


def class_folders(top: Images) -> frozenset[str]:
    """The folders inside of a folder, past wrapping ones, that hold images; those of unlabelled images are none."""
    names = _names(folders_below(top))
    return names if len(names) > 1 or not words.is_sorting(names) else frozenset()


def copy_of_all(tops: dict[str, Images]) -> str | None:
    """A folder that holds its own siblings again, as archives packed twice do."""
    for name, top in tops.items():
        below = folders_below(top)
        names = {folders[0] for folders in below if folders}
        if len(names) > 1 and names <= set(tops) and () not in below:
            return name
    return None


def share(some: frozenset[str], others: frozenset[str]) -> bool:
    """Whether at least half of some names are among others."""
    return bool(some) and 2 * len(some & others) >= len(some)


def differ_by_number(names: list[str]) -> bool:
    """Whether names of parts say the same but for numbers and single letters."""
    return len(names) > 1 and len({words.role(name)[1] for name in names}) == 1


def common_root(members: dict[Parts, str]) -> Parts:
    """The longest path above all class folders."""
    if not members:
        return ()
    # All lie between the least and the largest.
    first, last = min(members)[:-1], max(members)[:-1]
    return first[: next((k for k, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))]


