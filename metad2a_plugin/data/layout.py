"""Which folders are classes: past wrapping folders, parts of a split, masks and copies; by structure and by names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from metad2a_plugin.data import words
from metad2a_plugin.data.masks import find_masks
from metad2a_plugin.data.notes import FOLDER_HELP, Notes, count
from metad2a_plugin.data.pixels import few
from metad2a_plugin.data.split_folders import find_split
from metad2a_plugin.data.tree import (
    Candidate,
    Images,
    Parts,
    by_top,
    common_root,
    copy_of_all,
    folders_below,
    stripped,
    wraps,
)
from metad2a_plugin.errors import DatasetError


@dataclass(frozen=True)
class Layout:
    """Where the classes of a listing are.

    Attributes:
        root: the folder that holds them, or all parts of them.
        members: the class of each image, by its path.
        validation_root, validation: the same of the validation part; empty without one.
        left_out: what was left out, each a few words.
    """

    root: Parts
    members: dict[Parts, str]
    validation_root: Parts
    validation: dict[Parts, str]
    left_out: tuple[str, ...]


def find_layout(
    files: list[Parts], folders: Iterable[Parts], what: str, where: Callable[[Parts], str]
) -> Layout:
    """The classes of a folder or zip.

    Args:
        files: paths of all images, sorted.
        folders: paths of folders, to notice empty classes.
        what: the source, for messages.
        where: how a folder inside of it is called, by its path, for messages.

    Raises:
        DatasetError: no class folders, or folders that may be parts of a split as well as classes.
    """
    return _Finder(what, where).find([Candidate(file, file[:-1]) for file in files], folders)


class _Finder:
    """Narrows the images step by step; what a step leaves out it says, in a warning and for the summary."""

    def __init__(self, what: str, where: Callable[[Parts], str]) -> None:
        self.notes = Notes(what, where)
        self.gone: set[str] = set()  # folders beside the classes that are left out
        self.root: Parts = ()
        self.loose: Images = []
        self.validation: tuple[str, Images] | None = None

    def find(self, images: Images, folders: Iterable[Parts]) -> Layout:
        images = self._without_masks(images)
        while (narrower := self._step(images)) is not None:
            images = narrower
        images = [image for image in images if image.folders]
        if self.loose:
            names = few([image.path[-1] for image in self.loose])
            self.notes.leave_out(f"{len(self.loose)} images outside the class folders", f"are ignored ({names})")
        members = {image.path: image.folders[0] for image in images}
        depth, found = len(self.root), set(members.values())
        listed = {f[depth] for f in folders if len(f) > depth and f[:depth] == self.root}
        direct = all(path[depth] == name for path, name in members.items())
        if direct and (empty := sorted(listed - found - self.gone)):
            self.notes.warn(f"{len(empty)} class folders without images are left out ({few(empty)})")
        self._point_out_nested(images)
        validation = self._validation_members(found)
        return Layout(self.root, members, common_root(validation), validation, tuple(self.notes.left_out))

    def _step(self, images: Images) -> Images | None:
        """The images one decision narrower; None where the first folder of each is its class."""
        tops = by_top(images)
        self.loose += tops.pop("", [])
        if not tops:
            self.notes.refuse_flat(images)
        images = [image for top in tops.values() for image in top]
        if copy := copy_of_all(tops):
            self.gone.add(copy)
            self.notes.leave_out(f"{copy!r}{count(tops[copy])}", "is left out: it holds the folders beside it again")
            return [image for image in images if image.folders[0] != copy]
        if len(tops) == 1:
            (name,) = tops
            if not wraps(folders_below(tops[name])):
                if words.is_pictures(name) and all(len(image.folders) == 1 for image in tops[name]):
                    self.notes.refuse_flat(tops[name])
                return None
            return self._entered(stripped(images))
        if split := find_split(tops, self.notes):
            self.validation = self.validation or split.validation
            return self._entered(split.training) if split.entered else split.training
        if words.are_pieces(tops):
            raise DatasetError(
                f"{self.notes.what}: {few(sorted(tops))} look like pieces of one set of images, without class folders. "
                f"{FOLDER_HELP}"
            )
        return None

    def _entered(self, images: Images) -> Images:
        """The same images, of a folder that they all lie in and that is the root from now on."""
        path, folders = images[0]
        self.root = path[: len(path) - 1 - len(folders)]
        return images

    # -- parts, masks, nested folders ------------------------------------------------------------
    def _validation_members(self, classes: set[str]) -> dict[Parts, str]:
        if self.validation is None:
            return {}
        name, images = self.validation
        found = {image.path: image.folders[0] for image in images if image.folders}
        if set(found.values()) == classes:
            return found
        why = "it has no class folders" if not found else "its class folders are others than those of the training part"
        self.notes.leave_out(f"the validation part {name!r}", f"is not used: {why}")
        return {}

    def _without_masks(self, images: Images) -> Images:
        masks, examples = find_masks([image.path for image in images])
        if not masks or len(masks) == len(images):
            return images
        how = f"are left out: they go with images of the same names ({few(examples)})"
        self.notes.leave_out(f"{len(masks)} masks", how)
        return [image for image in images if image.path not in masks]

    def _point_out_nested(self, images: Images) -> None:
        """Warn of classes whose images lie in several folders, and of images that may be there twice."""
        leaves: dict[str, set[Parts]] = defaultdict(set)
        for image in images:
            leaves[image.folders[0]].add(image.folders[1:])
        nested = sorted(name for name, found in leaves.items() if len(found) > 1)
        if nested:
            below = sorted("/".join((nested[0], *rest)) for rest in leaves[nested[0]] if rest)
            self.notes.warn(
                f"the images of {len(nested)} classes ({few(nested)}) lie in several folders, such as {few(below)}, "
                f"and are taken together. If these are the classes, pass the folder that holds them, such as "
                f"{self.notes.where((*self.root, nested[0]))}"
            )
        twice = Counter((path[:-1], words.bare(path[-1])) for path, _ in images)
        pairs = [(*folder, name) for (folder, name), n in twice.items() if n > 1]
        if 4 * len(pairs) >= len(twice):
            self.notes.warn(
                f"{len(pairs)} images have the name of another but for the suffix, such as {'/'.join(pairs[0])!r}: "
                "where these are masks or copies, remove them"
            )

    # -- what is said ----------------------------------------------------------------------------
