"""All files and folders below a folder, links followed; and what a path may have meant."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from metad2a_plugin.data import words
from metad2a_plugin.data.tree import Parts
from metad2a_plugin.errors import DatasetError


def walk(path: Path) -> tuple[list[Parts], list[Parts]]:
    """Paths of all files and folders, as parts, without what is hidden or left behind by a system.

    A link to a folder that it lies in is left out, and so are links inside a linked folder to what was seen before: the
    walk ends, and its length is linear in the number of links and files.

    Raises:
        DatasetError: a folder may not be read, or two folders beside each other are the same.
    """

    def refuse(error: OSError) -> None:
        raise DatasetError(f"cannot read {error.filename}: {error.strerror}; check its permissions") from error

    files: list[Parts] = []
    folders: list[Parts] = []
    top = os.path.realpath(path)
    real = {str(path): top}  # of the folders that are still to be walked
    linked: set[str] = set()  # those among them that were reached by a link
    seen = {top}
    for folder, subfolders, names in os.walk(path, onerror=refuse, followlinks=True):
        here, by_link = real.pop(folder), folder in linked
        below = Path(folder).relative_to(path).parts
        beside: dict[str, str] = {}
        for name in sorted(subfolders):
            full = os.path.join(folder, name)
            is_link = os.path.islink(full)
            target = os.path.realpath(full) if is_link else os.path.join(here, name)
            loops = is_link and f"{here}{os.sep}".startswith(f"{target.rstrip(os.sep)}{os.sep}")
            if words.is_system(name) or loops or (is_link and by_link and target in seen):
                subfolders.remove(name)
                continue
            if target in beside:
                raise DatasetError(
                    f"{beside[target]!r} and {name!r} in {folder!r} are the same folder (a link), so that the same "
                    "images would be in two classes; remove one of them"
                )
            beside[target], real[full] = name, target
            seen.add(target)
            if is_link or by_link:
                linked.add(full)
        folders.append(below)
        files += [(*below, name) for name in names if not words.is_system(name)]
    return files, folders


def near_miss(path: str) -> str:
    """What may have been meant by a path that is not there, as the end of a sentence; empty where nothing is near."""
    given = os.path.expanduser(path).rstrip("/\\")
    above, names = os.path.dirname(given), [os.path.basename(given)]
    try:
        while above and not os.path.isdir(above):
            names.append(os.path.basename(above))
            above = os.path.dirname(above)
        there = {name.lower(): name for name in os.listdir(above or ".")}
    except (OSError, ValueError):
        return ""
    near = difflib.get_close_matches(names[-1].lower(), there, n=1)
    return f"; did you mean {os.path.join(above, there[near[0]])!r}?" if near else ""
