"""Texts from jinja2 templates that lie beside the modules that fill them in."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def filled(template: str, **values: Any) -> str:
    """A template of the package, such as ``meta/card.md.j2``, with these values; a name that it lacks is an error."""
    environment = Environment(
        loader=PackageLoader("metad2a_plugin", ""),
        autoescape=template.endswith(".html.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(template).render(values)
