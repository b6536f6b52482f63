"""What is shared as a few files and a card: in a folder, or on the Hugging Face hub."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metad2a_plugin.errors import ConfigError, said, shortened
from metad2a_plugin.utils.checks import path_like
from metad2a_plugin.utils.files import write_atomically
from metad2a_plugin.utils.hugging_face import PREFIX, parse_place, upload
from metad2a_plugin.utils.templates import filled

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")
CARD = "README.md"


@dataclass(frozen=True)
class Card:
    """What a card says.

    Attributes:
        title: first line.
        about: a paragraph.
        use: lines of Python, in which ``NAME`` stands for the place.
        saw: what it was trained on, plain values by name.
        measured: numbers and texts by name.
        terms: a paragraph.
        tags: for those who search.
        task: the hub's name of what it does, if it has one.
    """

    title: str
    about: str
    use: str
    saw: Mapping[str, Any]
    measured: Mapping[str, Any]
    terms: str
    tags: tuple[str, ...] = field(default=("neural-architecture-search",))
    task: str = ""

    def text(self, place: str, license_id: str) -> str:
        """As markdown, with the front matter that the hub reads."""
        use = self.use.replace("NAME", place)
        return filled("utils/hub_card.md.j2", card=self, use=use, license_id=license_id, cell=cell) + "\n"


def cell(value: Any) -> str:
    """A plain value as one line of a table."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        more = [] if len(value) <= 20 else [f"and {len(value) - 20:,} more"]
        return ", ".join([*map(cell, value[:20]), *more]) or "none"
    text = "none" if value is None else shortened(" ".join(str(value).split()))
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", text)


class Shareable:
    """Has files that are shared together."""

    def save_pretrained(self, folder: str | os.PathLike[str], *, license_id: str = "other") -> None:
        """Write a folder that can be shared: the weights, what they are, and a card; no file can run code.

        Args:
            folder: made if there is none.
            license_id: for the card, by the hub's names, such as ``apache-2.0``; by default the card has the terms.

        Raises:
            ConfigError: it cannot be written, or `license_id` is no name.
        """
        path_like("folder", folder)
        for name, content in self._published(f"{PREFIX}USER/REPO", license_id).items():
            write_atomically(Path(folder) / name, content)

    def push_to_hub(
        self, repo: str, *, license_id: str = "other", private: bool | None = None, message: str = "metad2a-plugin"
    ) -> str:
        """Write what `save_pretrained` does to a repository of the Hugging Face hub, as one commit.

        Args:
            repo: ``user/repo``, or ``user/repo@branch``; made if there is none.
            license_id: as of `save_pretrained`.
            private: whether a repository that is made is private; None leaves that to the account.
            message: of the commit.

        Returns:
            The commit's name, ``hf:user/repo@commit``, by which it is read again.

        Raises:
            MissingExtraError: huggingface_hub is not installed (extra ``hub``).
            ConfigError: the name is wrong, the hub cannot be reached, or you may not write there.
        """
        place = parse_place(repo)
        return upload(repo, self._published(f"{PREFIX}{place.repo}", license_id), private=private, message=message)

    def _published(self, place: str, license_id: str) -> dict[str, bytes]:
        """The files and the card."""
        if not isinstance(license_id, str) or not _LICENSE.fullmatch(license_id):
            raise ConfigError(f"license_id is a name of the hub's, such as 'apache-2.0', got {said(license_id)}")
        return {CARD: self.card().text(place, license_id).encode(), **self.files()}

    def card(self) -> Card:
        """What its card says."""
        raise NotImplementedError

    def files(self) -> dict[str, bytes]:
        """By name, what it takes to read it again; the last one says that the others are there."""
        raise NotImplementedError
