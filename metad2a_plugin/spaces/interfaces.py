"""What a search space may be able to do besides; found by ``isinstance``, so that a space says so by inheriting.

>>> from metad2a_plugin.spaces.nasbench201.space import NASBench201
>>> isinstance(NASBench201(), Drawable), isinstance(NASBench201(), ElasticSupernet)
(True, False)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from metad2a_plugin.spaces.base import Architecture


class Drawable(ABC):
    """A space whose architectures have a picture."""

    @abstractmethod
    def draw(self, architecture: Architecture, path: str | os.PathLike[str], title: str | None = None) -> None:
        """Draw an architecture as SVG or PNG, by the suffix of `path`.

        Raises:
            ConfigError: another suffix.
            MissingExtraError: matplotlib is not installed (extra ``draw``).
        """
