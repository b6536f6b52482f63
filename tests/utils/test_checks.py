from __future__ import annotations

import pytest

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.utils.checks import parse_options


def test_options_are_json_or_text() -> None:
    given = ["a=1", "b=0.5", "c=true", "d=null", "e=text", "f=", "g=[1, 2]", 'h="1"', "batch-size=3", "i=x=y"]
    assert parse_options(given) == {
        "a": 1, "b": 0.5, "c": True, "d": None, "e": "text", "f": "", "g": [1, 2], "h": "1", "batch_size": 3, "i": "x=y"
    }  # fmt: skip
    assert parse_options([]) == {}


@pytest.mark.parametrize("texts", [["a"], ["=1"], ["a b=1"], ["1=2"], ["a=1", "a=2"], ["a-b=1", "a_b=1"]])
def test_other_texts_are_refused(texts: list[str]) -> None:
    with pytest.raises(ConfigError, match="option"):
        parse_options(texts)
