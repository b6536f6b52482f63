"""A point of a search space, and the forms in which one is given."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True, order=True)
class Architecture:
    """One point of a search space: hashable, comparable, plain data.

    Attributes:
        space: name of the search space (``"nasbench201"``).
        choices: one option index per decision, in the order the space documents.
    """

    space: str
    choices: tuple[int, ...]


Notation: TypeAlias = "Architecture | str | int | os.PathLike[str] | Sequence[Any] | Mapping[str, Any]"
"""An architecture in any form that `SearchSpace.parse` reads."""
