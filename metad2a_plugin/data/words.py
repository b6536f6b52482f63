"""What the names of folders and files say: parts of a split, masks, and what systems leave behind."""

from __future__ import annotations

import re
from collections.abc import Iterable


def to_set(text: str) -> frozenset[str]:
    """Words of a text that are looked up."""
    return frozenset(text.split())


TRAIN, VALIDATION, TEST, FOLD = "train", "validation", "test", "fold"
_ROLES = {
    **dict.fromkeys(("train", "training", "trn", "trainset", "traindata", "trainval"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "validate", "valset", "validset", "valdata"), VALIDATION),
    **dict.fromkeys(("dev", "devset", "eval", "evaluation"), VALIDATION),
    **dict.fromkeys(("test", "testing", "tst", "testset", "testdata", "holdout"), TEST),
    **dict.fromkeys(("pred", "predict", "prediction", "predictions", "inference"), TEST),
    **dict.fromkeys(("unlabeled", "unlabelled", "unseen", "submission"), TEST),
    **dict.fromkeys(("fold", "split", "folds", "splits"), FOLD),
}
# Words beside that of a part that do not make it another thing, as in `training_set` and `test_images`.
_PLAIN = to_set("set sets data dataset images image img imgs pics pictures photos folder part dir samples subset ds")
# Folders inside of a class that sort its images and name no class; a year, a number or a size is one too.
_SORTING = to_set(
    "images image imgs img photos pictures pics original originals raw augmented aug processed cropped crops resized "
    "left right front back side top bottom rear day night morning evening indoor outdoor inside outside near far "
    "rgb depth ir thermal color colour gray grey grayscale good bad high low small large "
    "old new jpg jpeg png frames video videos session camera cam"
)
_PIECES = to_set("part parts batch chunk shard images imgs photos pictures")
_MASKS = to_set("mask masks annotation annotations segmentation segmentations gt groundtruth label labels")
_PICTURES = to_set(
    "images image imgs img photos photo pictures pics original originals raw rgb input inputs scans scan cxr xray "
    "xrays frames jpg jpeg png jpegimages data"
)
_MASK_FILE = re.compile(r"(.+?)[ _.-]+(?:mask|masks|segmentation|seg|gt|groundtruth|label|annotation)[ _-]?\d*", re.I)
_MASK_WORD = re.compile("mask|seg|gt|truth|label|anno", re.I)
_SYSTEM = frozenset(
    (
        "__macosx", "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin",
        "recycler", "recycled", "system volume information", "lost+found", "lost.dir", "__pycache__", "node_modules",
        "network trash folder", "temporary items", "msdownld.tmp",
        "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r",
    )
)  # fmt: skip


def is_system(name: str) -> bool:
    """Whether a file or folder is hidden, or one that an operating system, NAS, tool or archiver leaves behind."""
    low = name.lower()
    # The last are what a check of a Windows disk puts back.
    return low.startswith((".", "~$", "@syno")) or low in _SYSTEM or (low[:6] == "found." and low[6:].isdigit())


def words(name: str) -> list[str]:
    """Lower-case words and numbers of a name, also of camelCase."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return re.findall(r"\d+|[^\W\d_]+", spaced.lower())


def role(name: str) -> tuple[str | None, tuple[str, ...]]:
    """The part of a split that a name says, or None, and the words that are left without it.

    >>> role("seg_train"), role("testSet2"), role("contrast")
    (('train', ('seg',)), ('test', ()), (None, ('contrast',)))
    """
    parts = words(name)
    if "hold" in parts and "out" in parts:
        parts = [part for part in parts if part not in ("hold", "out")] + ["holdout"]
    told = {_ROLES[part] for part in parts if part in _ROLES}
    rest = tuple(p for p in parts if p not in _ROLES and p not in _PLAIN and not p.isdigit() and len(p) > 1)
    if told - {FOLD}:
        told -= {FOLD}
    elif FOLD in told and rest:
        told = set()  # `banana_split` is no part
    if told == {TRAIN, VALIDATION}:
        told = {TRAIN}
    return (told.pop() if len(told) == 1 else None), rest


def is_bare(name: str) -> bool:
    """Whether a name is the word of a part and nothing else, such as ``train`` or ``Test``."""
    parts = words(name)
    return len(parts) == 1 and parts[0] in _ROLES


def is_sorting(names: Iterable[str]) -> bool:
    """Whether folders of these names sort the images of a class: none of them could name a class.

    Numbers do, such as years, but not where they count as class indices do: from 0, or five or more from 1 or A.
    """
    names = list(names)
    counted = {name.lower().lstrip("0") or "0" for name in names}
    from_zero = len(names) > 1 and counted == set(map(str, range(len(names))))
    if from_zero or (len(names) > 4 and {"0", "1", "a"} & counted):
        return False

    def sorts(name: str) -> bool:
        parts = words(name)
        return all(p in _SORTING or p.isdigit() or len(p) == 1 or p in _MASKS or p in _ROLES for p in parts)

    return all(map(sorts, names))


def are_pieces(names: Iterable[str]) -> bool:
    """Whether folders are numbered pieces of one set of images, such as ``images_part_1``, ``images_part_2``."""
    bare = {tuple(part for part in words(name) if not part.isdigit()) for name in names}
    return len(bare) == 1 and not _PIECES.isdisjoint(next(iter(bare)))


def is_masks(name: str) -> bool:
    """Whether a folder may hold masks, by its name."""
    parts = words(name)
    return not _MASKS.isdisjoint(parts) or "ground truth" in " ".join(parts)


def is_pictures(name: str) -> bool:
    """Whether a folder may hold what masks are of, by its name."""
    return not is_masks(name) and (not _PICTURES.isdisjoint(words(name)) or role(name)[0] is not None)


def bare(name: str) -> str:
    """The name of a file without its suffix."""
    return name[:dot] if (dot := name.rfind(".")) > 0 else name


def masked(name: str) -> str | None:
    """The bare name of the image that a file is the mask of, by its own: ``a (1)`` of ``a (1)_mask_2.png``."""
    if not _MASK_WORD.search(name):  # most names; the other expression takes longer
        return None
    found = _MASK_FILE.fullmatch(bare(name))
    return found[1] if found else None


def stem(name: str) -> str:
    """Of a file, without the word that makes it a mask."""
    return masked(name) or bare(name)
