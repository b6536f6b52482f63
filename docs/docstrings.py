"""Docstrings as Markdown: what a reader sees as code becomes a block of code."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Doctests are fenced, and the double colon before an indented block is a single one.

    A name is documented where it is defined, also where another module hands it on.
    """

    def on_module(self, *, mod: griffe.Module, **_: Any) -> None:
        """Let a module that is no package hand on nothing."""
        if not mod.is_init_module:
            mod.exports = None

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of whatever has one."""
        if obj.docstring:
            text = re.sub(r" +# doctest:.*", "", obj.docstring.value)
            text = re.sub(r"^>>> .*(?:\n.+)*", r"```pycon\n\g<0>\n```", text, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"::$", ":", text, flags=re.MULTILINE)
