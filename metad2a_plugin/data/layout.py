"""Which folders are classes: past wrapping folders, parts of a split, masks and copies; by structure and by names."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from metad2a_plugin.data import words
from metad2a_plugin.data.masks import find_masks
from metad2a_plugin.data.pixels import DatasetWarning, few
from metad2a_plugin.data.tree import (
    Candidate,
    Images,
    Parts,
    by_top,
    class_folders,
    common_root,
    copy_of_all,
    differ_by_number,
    folders_below,
    share,
    stripped,
    unwrapped,
    wraps,
)
from metad2a_plugin.errors import DatasetError

FOLDER_HELP = "Expected a folder of class folders, such as flowers/rose/1.jpg and flowers/tulip/2.jpg"


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
        self.what, self.where = what, where
        self.gone: set[str] = set()  # folders beside the classes that are left out
        self.left_out: list[str] = []
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
            self._leave_out(f"{len(self.loose)} images outside the class folders", f"are ignored ({names})")
        members = {image.path: image.folders[0] for image in images}
        depth, found = len(self.root), set(members.values())
        listed = {f[depth] for f in folders if len(f) > depth and f[:depth] == self.root}
        direct = all(path[depth] == name for path, name in members.items())
        if direct and (empty := sorted(listed - found - self.gone)):
            self._warn(f"{len(empty)} class folders without images are left out ({few(empty)})")
        self._point_out_nested(images)
        validation = self._validation_members(found)
        return Layout(self.root, members, common_root(validation), validation, tuple(self.left_out))

    def _step(self, images: Images) -> Images | None:
        """The images one decision narrower; None where the first folder of each is its class."""
        tops = by_top(images)
        self.loose += tops.pop("", [])
        if not tops:
            self._refuse_flat(images)
        images = [image for top in tops.values() for image in top]
        if copy := copy_of_all(tops):
            self.gone.add(copy)
            self._leave_out(f"{copy!r}{_count(tops[copy])}", "is left out: it holds the folders beside it again")
            return [image for image in images if image.folders[0] != copy]
        if len(tops) == 1:
            (name,) = tops
            if not wraps(folders_below(tops[name])):
                return None
            self._enter(images)
            return stripped(images)
        if (part := self._split(tops) or self._split_inside(tops) or self._whole_dataset(tops)) is None:
            self._check_domains(tops)
            if words.are_pieces(tops):
                raise DatasetError(
                    f"{self.what}: {few(sorted(tops))} look like pieces of one set of images, without class folders. "
                    f"{FOLDER_HELP}"
                )
        return part

    # -- parts of a split ------------------------------------------------------------------------
    def _split(self, tops: dict[str, Images]) -> Images | None:
        """Of parts beside each other, the training part."""
        roles = {name: words.role(name) for name in tops}
        train = [name for name, (role, _) in roles.items() if role == words.TRAIN]
        inner = {name: class_folders(tops[name]) for name in tops}
        others = [name for name in tops if name not in train]
        named = [name for name in others if roles[name][0]]
        if not train and named and (unnamed := self._unnamed_training_part(tops, roles, inner)):
            return self._take(tops, [unnamed], roles)
        if not any(inner[name] for name in train):
            self._check_without_training(tops, roles, inner, train)
            return None
        classes = frozenset[str]().union(*(inner[name] for name in train))
        sharing = [name for name in others if share(inner[name], classes)]
        strangers = [name for name in sharing if name not in named]
        rests = {frozenset(roles[name][1]) for name in train}
        alike = [name for name in named if frozenset(roles[name][1]) in rests]
        if strangers and words.is_sorting(classes) and not set(alike) & set(sharing):
            return None  # classes, one of which is called so, with the same folders inside
        named_parts = set(alike) | set(named) & set(sharing)
        by_words = set(named) & set(sharing) or 2 * (len(train) + len(named)) >= len(tops)
        all_named = frozenset() in rests and named and len(named) == len(others)
        all_share = strangers and len(sharing) == len(others)
        alone = not others and differ_by_number(train)
        if not ((named_parts and by_words) or all_named or all_share or alone):
            return None
        return self._take(tops, self._training_parts(tops, train, inner), roles)

    def _unnamed_training_part(
        self, tops: dict[str, Images], roles: dict[str, tuple[str | None, Parts]], inner: dict[str, frozenset[str]]
    ) -> str | None:
        """The one folder beside parts of the same classes that are called after it, as ``pets`` and ``pets_test``."""
        unnamed = [name for name in tops if not roles[name][0]]
        if len(unnamed) != 1 or not inner[unnamed[0]] or words.is_sorting(inner[unnamed[0]]):
            return None
        (name,) = unnamed
        rests = set().union(*(roles[other][1] for other in tops if other != name))
        alike = all(share(inner[other], inner[name]) for other in tops) and rests <= set(words.words(name))
        return name if alike else None

    def _whole_dataset(self, tops: dict[str, Images]) -> Images | None:
        """Of several folders, the only one that holds parts with classes: the others are no classes beside it."""
        whole = []
        for name, top in tops.items():
            parts = by_top(unwrapped(stripped(top)))
            roles = {part: words.role(part)[0] for part in parts if part}
            train = [part for part, role in roles.items() if role == words.TRAIN]
            several = len(set(roles.values()) - {None, words.FOLD}) > 1
            if several and any(len(class_folders(parts[part])) > 1 for part in train):
                whole.append(name)
        if len(whole) != 1:
            return None
        others = sorted(set(tops) - set(whole))
        self.left_out += [f"{name!r}{_count(tops[name])}" for name in others]
        self._warn(f"only {whole[0]!r} is used, which holds the parts of a dataset, not {few(others)}")
        return tops[whole[0]]

    def _training_parts(
        self, tops: dict[str, Images], train: list[str], inner: dict[str, frozenset[str]]
    ) -> list[str]:
        """Of several training parts, those to use together."""
        train = [name for name in train if inner[name]]
        bare = [name for name in train if words.is_bare(name)]
        if len(train) == 1 or len(bare) == 1:
            return bare or train
        apart = len(frozenset().union(*(inner[n] for n in train))) == sum(len(inner[n]) for n in train)
        if not (apart or differ_by_number(train)):
            raise DatasetError(
                f"{self.what} has several training parts: {few(sorted(train), 6)}. {self._pass_one(tops[train[0]])}"
            )
        return train

    def _take(self, tops: dict[str, Images], train: list[str], roles: dict[str, tuple[str | None, Parts]]) -> Images:
        """The images of the training parts; the others are left out, or are for validation."""
        validation = [name for name in tops if roles[name][0] == words.VALIDATION]
        validation = [name for name in validation if words.is_bare(name)] if len(validation) > 1 else validation
        if len(validation) == 1 and self.validation is None:
            self.validation = validation[0], unwrapped(stripped(tops[validation[0]]))
        self._say_split(tops, train, self.validation[0] if self.validation else None)
        used = [image for name in train for image in tops[name]]
        if len(train) == 1:
            self._enter(used)
        return stripped(used)

    def _say_split(self, tops: dict[str, Images], used: list[str], validation: str | None) -> None:
        others = sorted(name for name in tops if name not in used)
        rest = [name for name in others if name != validation]
        self.left_out += [f"{name!r}{_count(tops[name])}" for name in rest]
        verb = "is" if len(used) == 1 else "are"
        text = f"is split into {few(sorted(tops), 6)}: only {few(sorted(used), 6)} {verb} used"
        if validation:
            text += f". {validation!r} is for validation where networks are trained"
        if rest:
            text += f". To use {few(rest, 6)}, pass that folder itself, such as {self._path(tops[rest[0]])}"
        self._warn(text)

    def _check_without_training(
        self,
        tops: dict[str, Images],
        roles: dict[str, tuple[str | None, Parts]],
        inner: dict[str, frozenset[str]],
        train: list[str],
    ) -> None:
        """Refuse parts none of which is a training part with class folders."""
        named = [name for name in tops if roles[name][0]]
        bare = [name for name in named if not roles[name][1]]
        pairs = [n for n in named for t in train if n not in train and set(roles[n][1]) == set(roles[t][1])]
        if train and pairs and (len(named) == len(tops) or len(bare) > 1):
            self._refuse_flat(tops[train[0]])
        if len(named) < len(tops):
            return
        most = max((inner[name] for name in named), key=len)
        if not (len(bare) == len(named) or (most and all(share(inner[name], most) for name in named))):
            return
        if not most and {role for role, _ in roles.values()} != {words.FOLD}:
            self._refuse_flat(tops[named[0]])
        raise DatasetError(
            f"{self.what} is split into {few(sorted(named), 6)}, none of which is a training part. "
            f"{self._pass_one(tops[min(named)])}; to use several, put the class folders of all of them into one "
            "folder called train"
        )

    def _split_inside(self, tops: dict[str, Images]) -> Images | None:
        """Of parts inside each class, the training part of each."""
        inside = {name: {image.folders[1] for image in top if len(image.folders) > 1} for name, top in tops.items()}
        roles = {part: words.role(part)[0] for part in set().union(*inside.values())}
        split = [n for n, parts in inside.items() if len({roles[p] for p in parts} - {None, words.FOLD}) > 1]
        if 2 * len(split) < len(tops) or words.TRAIN not in roles.values():
            return None
        by_role: dict[str | None, Images] = defaultdict(list)
        for top in tops.values():
            for image in top:
                part = image.folders[1] if len(image.folders) > 1 else None
                kept = Candidate(image.path, (image.folders[0], *image.folders[2:]))
                by_role[roles[part] if part is not None else None].append(kept)
        used = by_role[words.TRAIN]
        self.validation = ("validation", by_role[words.VALIDATION]) if by_role[words.VALIDATION] else None
        rest = {role: found for role, found in by_role.items() if role not in (words.TRAIN, words.VALIDATION) and found}
        names = few(sorted(part for part in roles if roles[part] != words.TRAIN), 6)
        count = sum(map(len, rest.values()))
        self.left_out += [f"{count} images of other parts inside the classes"] if count else []
        text = f"has parts inside its classes ({few(sorted(split))}): only the training parts are used, not {names}"
        if self.validation:
            text += ". The validation part is for validation where networks are trained"
        self._warn(f"{text}. To use another, make a folder of class folders of it")
        if gone := sorted(set(tops) - {image.folders[0] for image in used}):
            self._warn(f"{len(gone)} classes have no training part and are left out ({few(gone)})")
        return used

    def _check_domains(self, tops: dict[str, Images]) -> None:
        """Refuse folders that hold the same folders: domains, sources or unnamed parts."""
        inner = [names for names in map(class_folders, tops.values()) if names]
        common = inner[0].intersection(*inner) if inner else frozenset()
        apart = len(common) < 2 or 2 * len(inner) < len(tops) or any(2 * len(common) < len(names) for names in inner)
        if apart or words.is_sorting(common):
            return
        names = sorted(tops)
        raise DatasetError(
            f"{self.what}: the folders {few(names)} hold folders of the same names ({few(sorted(common))}), as "
            f"parts or domains of one dataset do. {self._pass_one(tops[names[0]])}; to use all, put the class folders "
            f"into one folder called train; if {few(names, 2)} are the classes, put the images right into them"
        )

    def _validation_members(self, classes: set[str]) -> dict[Parts, str]:
        if self.validation is None:
            return {}
        name, images = self.validation
        found = {image.path: image.folders[0] for image in images if image.folders}
        if set(found.values()) == classes:
            return found
        why = "it has no class folders" if not found else "its class folders are others than those of the training part"
        self._leave_out(f"the validation part {name!r}", f"is not used: {why}")
        return {}

    # -- masks and nested folders ----------------------------------------------------------------
    def _without_masks(self, images: Images) -> Images:
        masks, examples = find_masks([image.path for image in images])
        if not masks or len(masks) == len(images):
            return images
        how = f"are left out: they go with images of the same names ({few(examples)})"
        self._leave_out(f"{len(masks)} masks", how)
        return [image for image in images if image.path not in masks]

    def _point_out_nested(self, images: Images) -> None:
        """Warn of classes whose images lie in several folders, and of images that may be there twice."""
        leaves: dict[str, set[Parts]] = defaultdict(set)
        for image in images:
            leaves[image.folders[0]].add(image.folders[1:])
        nested = sorted(name for name, found in leaves.items() if len(found) > 1)
        if nested:
            below = sorted("/".join((nested[0], *rest)) for rest in leaves[nested[0]] if rest)
            self._warn(
                f"the images of {len(nested)} classes ({few(nested)}) lie in several folders, such as {few(below)}, "
                f"and are taken together. If these are the classes, pass the folder that holds them, such as "
                f"{self.where((*self.root, nested[0]))}"
            )
        twice = Counter((path[:-1], words.bare(path[-1])) for path, _ in images)
        pairs = [(*folder, name) for (folder, name), n in twice.items() if n > 1]
        if 4 * len(pairs) >= len(twice):
            self._warn(
                f"{len(pairs)} images have the name of another but for the suffix, such as {'/'.join(pairs[0])!r}: "
                "where these are masks or copies, remove them"
            )

    # -- what is said ----------------------------------------------------------------------------
    def _enter(self, images: Images) -> None:
        """The first folder that they share is part of the root."""
        path, folders = images[0]
        self.root = path[: len(path) - len(folders)]

    def _leave_out(self, thing: str, how: str) -> None:
        self.left_out.append(thing)
        self._warn(f"{thing} {how}")

    def _warn(self, text: str) -> None:
        joint = " " if text.startswith(("is ", "has ")) else ": "
        warnings.warn(f"{self.what}{joint}{text}", DatasetWarning, stacklevel=2)

    def _path(self, top: Images) -> str:
        """How the first folder of these images is passed."""
        path, folders = top[0]
        return self.where(path[: len(path) - len(folders)])

    def _pass_one(self, top: Images) -> str:
        return f"To use one of them, pass it, such as {self._path(top)}"

    def _refuse_flat(self, images: Images) -> None:
        """Images without class folders."""
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


def _count(images: Images) -> str:
    return f" ({len(images)} images)"
