"""Masks among the images of a listing: pictures of the same names, in a folder beside the images or beside each."""

from __future__ import annotations

from collections import defaultdict

from metad2a_plugin.data import words
from metad2a_plugin.data.tree import Parts


def find_masks(paths: list[Parts]) -> tuple[set[Parts], list[str]]:
    """Masks, and examples for a message: names of their folders, or the first file.

    A folder holds masks where its name says so and at least half of its files have the names of images in a folder
    beside it that is called as folders of images are, or right beside it. A class may be called ``with_mask``.
    """
    folders = _mask_folders(paths)
    inside = {path for path in paths if any(path[:k] in folders for k in range(1, len(path)))} if folders else set()
    named = [(path, of) for path in paths if (of := words.masked(path[-1]))]
    known = {(path[:-1], words.bare(path[-1])) for path in paths} if named else set()
    beside = {path for path, of in named if (path[:-1], of) in known}
    examples = sorted({folder[-1] for folder in folders}) or [path[-1] for path in sorted(beside)[:1]]
    return inside | beside, examples


def _mask_folders(paths: list[Parts]) -> set[Parts]:
    holding = {path[:-1] for path in paths}
    above = {folders[:k] for folders in holding for k, name in enumerate(folders) if words.is_masks(name)}
    if not above:
        return set()
    # For each folder above, what lies in each of its folders ("" for files right in it), without suffixes.
    inside: dict[Parts, dict[str, set[Parts]]] = defaultdict(lambda: defaultdict(set))
    for path in paths:
        for k in range(len(path)):
            if path[:k] in above:
                last = k + 1 == len(path)
                below = path[k:] if last else path[k + 1 :]
                inside[path[:k]]["" if last else path[k]].add((*below[:-1], words.stem(below[-1])))
    found = set()
    for base, folders in inside.items():
        pictures = [names for folder, names in folders.items() if not folder or words.is_pictures(folder)]
        for folder, names in folders.items():
            if words.is_masks(folder) and any(2 * len(names & others) >= len(names) for others in pictures):
                found.add((*base, folder))
    return found
