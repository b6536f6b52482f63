from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metad2a_plugin.errors import CheckpointError, ConfigError, MetaD2AError, said
from metad2a_plugin.utils.schema import (
    SchemaError,
    exactly,
    flag,
    integer,
    list_of,
    mapping_of,
    number,
    one_of,
    optional,
    parse_json,
    record,
    text,
    why,
)
from metad2a_plugin.utils.tensors import bound_shapes, check_weights, same_shapes

NUMBERS = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


# -- JSON ----------------------------------------------------------------------------------------
@given(PLAIN)
def test_plain_values_are_read_as_they_were_written(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")) == value


@pytest.mark.parametrize(
    "content",
    ["", "{", "NaN", "[Infinity]", "1e999", "-1e999", "1" * 5000, "[" * 100_000, '{"a":' * 50_000, '{"a": 1, "a": 2}',
     b"\xff\xfe", b"\x80", "{'a': 1}", "[1,]", "\0"],
)  # fmt: skip
def test_what_is_no_plain_value_is_refused(content: str | bytes) -> None:
    with pytest.raises(SchemaError) as caught:
        parse_json(content)
    assert len(str(caught.value)) < 400


# -- schemas -------------------------------------------------------------------------------------
SCHEMA = record(
    {"name": text(1, 10), "sizes": list_of(integer(1, 4), 1, 2), "share": number(0, 1)},
    {"more": optional(mapping_of(one_of(flag, exactly("a", 3))))},
)
GOOD = {"name": "a", "sizes": [1, 4], "share": 1, "more": {"x": True, "y": "a", "z": 3}, "other": [None]}


def test_what_fits_is_given_back() -> None:
    found = SCHEMA(GOOD, "")
    assert found == GOOD and type(found["share"]) is float
    assert SCHEMA({name: GOOD[name] for name in ("name", "sizes", "share")}, "")["share"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "name must be text of 1 to 10 characters, got ''"),
        ({"name": 3}, "name must be text"),
        ({"name": "\ud800"}, "name must be text that can be written"),
        ({"sizes": []}, "sizes must be a list of 1 to 2"),
        ({"sizes": [1, True]}, r"sizes\[1\] must be an integer from 1 to 4, got True"),
        ({"sizes": [5]}, r"sizes\[0\] must be an integer from 1 to 4, got 5"),
        ({"sizes": (1,)}, "sizes must be a list"),
        ({"share": float("nan")}, "share must be a number from 0 to 1, got nan"),
        ({"share": 10**400}, "share must be a number"),
        ({"share": 10**5000}, "share must be a number from 0 to 1, got an object of type int"),
        ({"more": {"x": "b"}}, "more.x must be 'a' or 3, got 'b'"),
        ({"more": {"x": 3.0}}, "more.x must be"),
        ({"more": []}, "more must be an object"),
    ],
)
def test_what_does_not_fit_is_named_by_its_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        SCHEMA(GOOD | change, "")


def test_names_that_are_missing_or_unknown_are_named() -> None:
    with pytest.raises(SchemaError, match=r"'a\.name' is missing"):
        SCHEMA({}, "a")
    with pytest.raises(SchemaError, match="an object with name, sizes, share"):
        SCHEMA([], "")
    with pytest.raises(SchemaError, match="'b' is unknown; known are a"):
        record({"a": flag}, others=False)({"a": True, "b": 1}, "")


@given(PLAIN)
def test_any_plain_value_fits_or_is_refused(value: Any) -> None:
    with suppress(SchemaError):
        SCHEMA(value, "")


# -- tensors -------------------------------------------------------------------------------------
def test_shapes_that_contradict_each_other_are_refused() -> None:
    expected = {"weight": "out in", "bias": "out", "pair": "2"}
    good = {"weight": (3, 8), "bias": (3,), "pair": (2,)}
    assert bound_shapes(good, expected) == {"out": 3, "in": 8}
    for changed in ({"bias": (4,)}, {"weight": (3,)}, {"pair": (3,)}, {"bias": ()}, {"more": (1,)}):
        with pytest.raises(SchemaError):
            bound_shapes(good | changed, expected)
    with pytest.raises(SchemaError, match=r"'weight' is of shape \[3, 8\], expected \[3, 9\]"):
        bound_shapes(good, expected, {"in": 9})
    with pytest.raises(SchemaError, match=r"missing \['bias'\], unknown \['b'\]"):
        same_shapes({"b": (1,)}, {"bias": (1,)})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_are_finite(value: float) -> None:
    check_weights({"a": torch.ones(3), "count": torch.tensor(3), "empty": torch.zeros(0)})
    with pytest.raises(SchemaError, match="'a' holds values that are not finite"):
        check_weights({"a": torch.tensor([1.0, value])})


def test_variances_are_not_negative() -> None:
    with pytest.raises(SchemaError, match="running_var"):
        check_weights({"norm.running_var": torch.tensor([1.0, -1.0])})


# -- messages ------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [ConfigError, CheckpointError, MetaD2AError])
@pytest.mark.parametrize("given", ["a" * 100_000, "a b " * 50_000, "\ud800" * 5000, "'" * 5000, "x" * 300 + "\0"])
def test_messages_are_short_and_can_be_shown(kind: type[MetaD2AError], given: str) -> None:
    for text_ in (f"no {given!r}; give another", f"no {given}; give another", f"no {said(given)}; give another"):
        message = str(kind(text_))
        message.encode()
        assert len(message) < 2000 and message.startswith("no ") and message.endswith("; give another")
    assert len(str(kind(f"no {given!r}; give another"))) < 260


def test_an_ordinary_message_stays_as_it_is() -> None:
    message = "'metad2a list devices' shows them; the users' file 'a b.json' isn't one of \"those\" of a list. " * 10
    assert str(ConfigError(message)) == message


def test_errors_of_others_are_told_by_their_kind_and_first_line() -> None:
    assert why(KeyError("a")) == "KeyError: 'a'"
    assert why(ValueError("one\ntwo")) == "ValueError: one" and why(ValueError()) == "ValueError: "
    assert len(why(ValueError("a" * 5000))) < 250
    assert why(SchemaError("a is missing")) == "a is missing"
