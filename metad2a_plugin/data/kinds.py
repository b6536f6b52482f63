"""Which files of a listing are images: by their suffix, or by their first bytes where they have none."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from metad2a_plugin.data import words

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
_OTHER = (".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".avif")
SUFFIXES = frozenset(_JPEG + _OTHER)
HEIC = frozenset((".heic", ".heif", ".hif"))
DEEP = frozenset((".png", ".tif", ".tiff", ".pgm", ".pnm", ".jp2", ""))
"""Suffixes of images that may have more than 8 bits a channel."""
# What lies beside images and is not meant to be one: no reason for a warning.
_BESIDE = words.to_set(
    ".txt .csv .tsv .json .jsonl .xml .yaml .yml .md .rst .html .htm .pdf .doc .docx .xls .xlsx .ini .cfg .toml .log "
    ".py .ipynb .m .sh .bat .db .url .lnk .pkl .pickle .pt .pth .h5 .hdf5 .parquet .arrow .lst .names .data .info "
    ".license .bib .tex .zip .gz .tar .sha256 .md5"
)
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP", b"P5", b"P6")
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
HEAD = 32
"""Bytes of a file that tell what it is."""


@dataclass(frozen=True)
class Listing:
    """Files of a folder or zip, told apart.

    Attributes:
        images: those that are read.
        warned: what was left out and looks like more than a file beside images, for a message; or empty.
        beside: the others, in a few words; or empty.
    """

    images: list[tuple[str, ...]]
    warned: str
    beside: str


def suffix(name: str) -> str:
    """Lower-case suffix of a file; a number is none, as in ``frame.0001``."""
    found = name[dot:].lower() if (dot := name.rfind(".")) > 0 else ""
    return "" if found[1:].isdigit() else found


def reads_heic() -> bool:
    """Whether the package of the extra ``heic`` is there."""
    return importlib.util.find_spec("pillow_heif") is not None


def is_heic(head: bytes) -> bool:
    """Whether a file begins as HEIC does."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS


def _is_image(head: bytes) -> bool:
    boxed = head[4:12] == b"ftypavif" or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    return head.startswith(_MAGIC) or boxed or (is_heic(head) and reads_heic())


def tell_apart(files: Iterable[tuple[str, ...]], head: Callable[[tuple[str, ...]], bytes]) -> Listing:
    """Images and other files.

    Args:
        files: paths as parts.
        head: the first `HEAD` bytes of one; asked for files without a suffix only.
    """
    known = SUFFIXES | HEIC if reads_heic() else SUFFIXES
    images: list[tuple[str, ...]] = []
    others: Counter[str] = Counter()
    for file in files:
        kind = suffix(file[-1])
        first = b"" if kind else head(file)
        if kind in known or _is_image(first):
            images.append(file)
        else:
            others[".heic" if is_heic(first) else kind] += 1
    strange = {kind: n for kind, n in others.most_common() if kind and kind not in _BESIDE}
    beside = {kind: n for kind, n in others.most_common() if kind not in strange}
    return Listing(sorted(images), _said(strange), _said(beside))


def _said(found: dict[str, int]) -> str:
    """Counts by suffix, and what reads those that could be read."""
    if not found:
        return ""
    counts = [f"{n} {kind or 'without a suffix'}" for kind, n in found.items()]
    text = ", ".join(counts[:5]) + (f" and {len(counts) - 5} more kinds" if len(counts) > 5 else "")
    if not HEIC.isdisjoint(found):
        text += " (HEIC is read with: pip install 'metad2a-plugin[heic]')"
    return text
