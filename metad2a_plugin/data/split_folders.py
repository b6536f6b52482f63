"""Which folders are parts of a split, by what they hold and by their names, and which of them are used."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import NoReturn

from metad2a_plugin.data import words
from metad2a_plugin.data.notes import Notes, count
from metad2a_plugin.data.pixels import few
from metad2a_plugin.data.tree import (
    Candidate,
    Images,
    by_top,
    class_folders,
    differ_by_number,
    share,
    stripped,
    unwrapped,
)
from metad2a_plugin.errors import DatasetError


@dataclass(frozen=True)
class Split:
    """Parts that were found.

    Attributes:
        training: the images to use.
        validation: the name and the images of the validation part, if there is one.
        entered: whether the training images are all of one folder, which is no part of what follows.
    """

    training: Images
    validation: tuple[str, Images] | None = None
    entered: bool = False


def find_split(tops: dict[str, Images], notes: Notes) -> Split | None:
    """The parts of a split among folders beside each other; None where these are none, and so may be classes.

    Args:
        tops: the images of each folder.
        notes: where it is said what is left out.

    Raises:
        DatasetError: there are parts, but none to train with; or the folders may be classes as well as parts.
    """
    found = _Siblings(tops, notes).split() or _whole_dataset(tops, notes) or _inside(tops, notes)
    if found is None:
        _check_domains(tops, notes)
    return found


class _Siblings:
    """Folders beside each other: what their names say (`roles`), and which folders they hold (`inner`)."""

    def __init__(self, tops: dict[str, Images], notes: Notes) -> None:
        self.tops, self.notes = tops, notes
        self.roles = {name: words.role(name) for name in tops}
        self.inner = {name: class_folders(top) for name, top in tops.items()}
        self.train = [name for name, (role, _) in self.roles.items() if role == words.TRAIN]
        self.others = [name for name in tops if name not in self.train]
        self.named = [name for name in self.others if self.roles[name][0]]

    def split(self) -> Split | None:
        """The training part, the rest said; None where the folders are no parts."""
        if not self.train and self.named and (unnamed := self._unnamed()):
            return self._take([unnamed])
        if not any(self.inner[name] for name in self.train):
            self._check_without_training()
            return None
        return self._take(self._training_parts()) if self._are_parts() else None

    def _are_parts(self) -> bool:
        """Whether the training parts, which hold class folders, are parts and not classes that are called so."""
        classes = frozenset[str]().union(*(self.inner[name] for name in self.train))
        sharing = {name for name in self.others if share(self.inner[name], classes)}
        strangers = sharing - set(self.named)
        rests = {self._rest(name) for name in self.train}
        alike = {name for name in self.named if self._rest(name) in rests}
        if strangers and words.is_sorting(classes) and not alike & sharing:
            return False  # classes, one of which is called so, with the same folders inside
        some_share = bool(sharing & set(self.named))
        most_named = 2 * (len(self.train) + len(self.named)) >= len(self.tops)
        all_named = frozenset() in rests and 0 < len(self.named) == len(self.others)
        all_share = bool(strangers) and len(sharing) == len(self.others)
        alone = not self.others and differ_by_number(self.train)
        return some_share or (bool(alike) and most_named) or all_named or all_share or alone

    def _rest(self, name: str) -> frozenset[str]:
        """The words of a name beside that of its part."""
        return frozenset(self.roles[name][1])

    def _unnamed(self) -> str | None:
        """The one folder beside parts of the same classes that are called after it, as ``pets`` and ``pets_test``."""
        unnamed = [name for name in self.others if name not in self.named]
        if len(unnamed) != 1 or not self.inner[unnamed[0]] or words.is_sorting(self.inner[unnamed[0]]):
            return None
        (name,) = unnamed
        rests = frozenset[str]().union(*map(self._rest, self.named))
        alike = all(share(self.inner[other], self.inner[name]) for other in self.named)
        return name if alike and rests <= set(words.words(name)) else None

    def _training_parts(self) -> list[str]:
        """Of several training parts, those to use together."""
        train = [name for name in self.train if self.inner[name]]
        bare = [name for name in train if words.is_bare(name)]
        if len(train) == 1 or len(bare) == 1:
            return bare or train
        inner = [self.inner[name] for name in train]
        apart = len(frozenset().union(*inner)) == sum(map(len, inner))
        if not apart and (bare or not differ_by_number(train)):
            raise DatasetError(
                f"{self.notes.what} has several training parts: {few(sorted(train), 6)}. "
                f"{self.notes.pass_one(self.tops[train[0]])}"
            )
        return train

    def _take(self, train: list[str]) -> Split:
        """The images of the training parts; the others are left out, or are for validation."""
        found = [name for name in self.named if self.roles[name][0] == words.VALIDATION]
        found = [name for name in found if words.is_bare(name)] if len(found) > 1 else found
        validation = found[0] if len(found) == 1 else None
        self._say(train, validation)
        used = stripped([image for name in train for image in self.tops[name]])
        part = None if validation is None else (validation, unwrapped(stripped(self.tops[validation])))
        return Split(used, part, entered=len(train) == 1)

    def _say(self, used: list[str], validation: str | None) -> None:
        rest = sorted(set(self.tops) - {*used, validation})
        self.notes.left_out += [f"{name!r}{count(self.tops[name])}" for name in rest]
        verb = "is" if len(used) == 1 else "are"
        text = f"is split into {few(sorted(self.tops), 6)}: only {few(sorted(used), 6)} {verb} used"
        if validation:
            text += f". {validation!r} is the validation part, for metad2a train"
        if rest:
            path = self.notes.path(self.tops[rest[0]])
            text += f". To use {few(rest, 6)}, pass that folder itself, such as {path}"
        self.notes.warn(text)

    def _check_without_training(self) -> None:
        """Refuse parts none of which is a training part with class folders."""
        named = [*self.train, *self.named]
        bare = [name for name in named if not self._rest(name)]
        rests = {self._rest(name) for name in self.train}
        pairs = {self._rest(name) for name in self.named} & rests
        if pairs and (any(pairs) or len(named) == len(self.tops) or len(bare) > 1):
            self.notes.refuse_flat(self.tops[self.train[0]])
        if len(named) < len(self.tops):
            return
        most = max((self.inner[name] for name in named), key=len)
        alike = most and all(share(self.inner[name], most) for name in named)
        if not (len(bare) == len(named) or alike):
            return
        if not most and {role for role, _ in self.roles.values()} != {words.FOLD}:
            self.notes.refuse_flat(self.tops[named[0]])
        raise DatasetError(
            f"{self.notes.what} is split into {few(sorted(named), 6)}, none of which is a training part. "
            f"{self.notes.pass_one(self.tops[min(named)])}; to use several, put the class folders of all of them into "
            "one folder called train"
        )


def _whole_dataset(tops: dict[str, Images], notes: Notes) -> Split | None:
    """Of several folders, the only one that holds parts with classes: the others are no classes beside it.

    Raises:
        DatasetError: several of them do, of the same classes.
    """
    whole, held = [], []
    for name, top in tops.items():
        parts = by_top(unwrapped(stripped(top)))
        roles = {part: words.role(part)[0] for part in parts if part}
        train = [part for part, role in roles.items() if role == words.TRAIN]
        several = len(set(roles.values()) - {None, words.FOLD}) > 1
        if several and any(len(class_folders(parts[part])) > 1 for part in train):
            whole.append(name)
            held.append(frozenset[str]().union(*(class_folders(parts[part]) for part in train)))
    if len(whole) > 1 and all(share(names, held[0]) for names in held):
        _refuse_domains(tops, held[0], notes)
    if len(whole) != 1:
        return None
    others = sorted(set(tops) - set(whole))
    notes.left_out += [f"{name!r}{count(tops[name])}" for name in others]
    notes.warn(f"only {whole[0]!r} is used, which holds the parts of a dataset, not {few(others)}")
    return Split(tops[whole[0]])


def _inside(tops: dict[str, Images], notes: Notes) -> Split | None:
    """Of parts inside each class, the training part of each, or the images beside parts for other ends."""
    inside = {name: {image.folders[1] for image in top if len(image.folders) > 1} for name, top in tops.items()}
    roles = {part: words.role(part)[0] for part in set().union(*inside.values())}
    named = words.TRAIN in roles.values()
    if named:
        split = [n for n, parts in inside.items() if len({roles[p] for p in parts} - {None, words.FOLD}) > 1]
    else:
        held = (words.VALIDATION, words.TEST)
        ends = {part for part, role in roles.items() if role in held and words.is_bare(part)}
        beside = {name for name, top in tops.items() if any(len(image.folders) == 1 for image in top)}
        split = [n for n, parts in inside.items() if n in beside and parts & ends]
    if 2 * len(split) < len(tops):
        return None
    by_role: dict[str | None, Images] = defaultdict(list)
    for top in tops.values():
        for image in top:
            part = image.folders[1] if len(image.folders) > 1 else None
            kept = Candidate(image.path, (image.folders[0], *image.folders[2:]))
            by_role[roles[part] if part is not None else None].append(kept)
    training = words.TRAIN if named else None
    used, validation = by_role[training], by_role[words.VALIDATION]
    rest = sum(len(found) for role, found in by_role.items() if role not in (training, words.VALIDATION))
    notes.left_out += [f"{rest} images of other parts inside the classes"] if rest else []
    names = few(sorted(part for part in roles if roles[part] != training), 6)
    which = "the training parts" if named else "the images beside them"
    text = f"has parts inside its classes ({few(sorted(split))}): only {which} are used, not {names}"
    if validation:
        text += ". The validation parts are for metad2a train"
    notes.warn(f"{text}. To use another, make a folder of class folders of it")
    if gone := sorted(set(tops) - {image.folders[0] for image in used}):
        notes.warn(f"{len(gone)} classes have no training part and are left out ({few(gone)})")
    return Split(used, ("validation", validation) if validation else None)


def _check_domains(tops: dict[str, Images], notes: Notes) -> None:
    """Refuse folders that hold the same folders: domains, sources or unnamed parts."""
    inner = [names for names in map(class_folders, tops.values()) if names]
    often = Counter(name for names in inner for name in names)
    common = frozenset(name for name, n in often.items() if n > 1 and 2 * n >= len(inner))
    alike = len(common) > 1 and 2 * len(inner) >= len(tops) and all(share(names, common) for names in inner)
    if alike and not words.is_sorting(common):
        _refuse_domains(tops, common, notes)


def _refuse_domains(tops: dict[str, Images], common: frozenset[str], notes: Notes) -> NoReturn:
    names = sorted(tops)
    raise DatasetError(
        f"{notes.what}: the folders {few(names)} hold folders of the same names ({few(sorted(common))}), as "
        f"parts or domains of one dataset do. {notes.pass_one(tops[names[0]])}; to use all, put the class folders "
        f"into one folder called train; if {few(names, 2)} are the classes, put the images right into them"
    )
