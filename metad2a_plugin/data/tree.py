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


def wraps(top: Images) -> bool:
    """Whether a folder that is alone only wraps those inside of it."""
    inside = [image for image in stripped(top) if image.folders]
    below = {image.folders[0] for image in inside}
    return len(below) > 1 or (len(below) == 1 and (len(inside) == len(top) or len(unwrapped(inside)[1]) > 1))


def unwrapped(images: Images) -> tuple[Images, frozenset[str]]:
    """Images past wrapping folders, and the names of the folders there."""
    while True:
        tops = by_top(images)
        tops.pop("", None)
        if len(tops) != 1 or not wraps(next(iter(tops.values()))):
            return images, frozenset(tops)
        images = stripped([image for top in tops.values() for image in top])


def class_folders(top: Images) -> frozenset[str]:
    """The folders inside of a folder, past wrapping ones, that hold images; those of unlabelled images are none."""
    names = unwrapped(stripped(top))[1]
    return names if len(names) > 1 or not words.is_sorting(names) else frozenset()


def copy_of_all(tops: dict[str, Images]) -> str | None:
    """A folder that holds its own siblings again, as archives packed twice do."""
    for name, top in tops.items():
        below = {image.folders[1] for image in top if len(image.folders) > 1}
        if len(below) > 1 and below <= set(tops) and all(len(image.folders) > 1 for image in top):
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


