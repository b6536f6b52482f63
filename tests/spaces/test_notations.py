"""Networks in every notation of the field, as objects, as text and in files; nothing else but the package's errors."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metad2a_plugin.errors import ArchitectureError
from metad2a_plugin.search.scoring import score_architectures
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.spaces.restricted import RestrictedSpace
from metad2a_plugin.spaces.values import LONGEST, values_of
from metad2a_plugin.testing.toy import ToySpace
from metad2a_plugin.training.classifier import ImageClassifier

CELLS, STAGES, TOY = NASBench201(), MobileNetV3Space(), ToySpace()
SPACES: list[SearchSpace] = [CELLS, STAGES, TOY]
TEXT = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|"
CELL = CELLS.parse(TEXT)
NASLIB = (2, 1, 3, 0, 1, 4)
GENOTYPE = [
    (("nor_conv_3x3", 0),),
    (("none", 0), ("skip_connect", 1)),
    (("nor_conv_1x1", 0), ("none", 1), ("avg_pool_3x3", 2)),
]
NAMES = ("ReLUConvBN3x3", "Zero", "ReLUConvBN1x1", "Identity", "Zero", "AvgPool1x1")
NETWORK = STAGES.parse("k3e3-k5e4+k7e6-k3e3-k3e3+k3e3-k3e3+k3e3-k3e3-k5e6+k3e3-k3e3-k3e3-k3e4")
CONFIG = STAGES.to_config(NETWORK)


def listed(config: dict[str, Any]) -> dict[str, Any]:
    """As the NAT models do: layers that are there only, and the width."""
    used = [i for stage, depth in enumerate(config["d"]) for i in range(4 * stage, 4 * stage + depth)]
    return config | {name: [config[name][i] for i in used] for name in ("ks", "e")} | {"w": 1.0}


class Structure:
    """As those of the packages of NAS-Bench-201."""

    def tostr(self) -> str:
        return TEXT

    def __repr__(self) -> str:
        return f"Structure(4 nodes with {TEXT})"


one_hot = np.eye(5, dtype=int)[list(NASLIB)].ravel()
VALUES: list[tuple[SearchSpace, Architecture, Any]] = [
    (CELLS, CELL, CELL),
    (CELLS, CELL, CELLS.index(CELL)),
    (CELLS, CELL, np.int64(CELLS.index(CELL))),
    (CELLS, CELL, NASLIB),
    (CELLS, CELL, list(NASLIB)),
    (CELLS, CELL, np.array(NASLIB)),
    (CELLS, CELL, torch.tensor(NASLIB)),
    (CELLS, CELL, tuple(np.array(NASLIB))),
    (CELLS, CELL, NAMES),
    (CELLS, CELL, one_hot),
    (CELLS, CELL, one_hot.astype(float)),
    (CELLS, CELL, GENOTYPE),
    (CELLS, CELL, [node[::-1] for node in GENOTYPE]),
    (CELLS, CELL, Structure()),
    (CELLS, CELL, {"architecture": TEXT, "score": 1.5}),
    (CELLS, CELL, {"space": "nasbench201", "arch_str": TEXT}),
    (STAGES, NETWORK, CONFIG),
    (STAGES, NETWORK, listed(CONFIG)),
    (STAGES, NETWORK, CONFIG | {"r": [224], "wid": None}),
    (STAGES, NETWORK, {name: np.array(CONFIG[name]) for name in ("ks", "e", "d")}),
    (TOY, TOY.parse("conv>skip>conv"), {"architecture": "conv>skip>conv"}),
]


@pytest.mark.parametrize(("space", "architecture", "value"), VALUES)
def test_values_are_read_as_they_are_printed_and_in_files(
    space: SearchSpace, architecture: Architecture, value: Any, tmp_path: Path
) -> None:
    assert space.parse(value) == architecture
    file = tmp_path / "network"
    for text in (repr(value), f" {value!r}\n", str(value)):
        assert space.parse(text) == architecture
        file.write_text(text)
        assert space.parse(file) == space.parse(str(file)) == architecture
    if not isinstance(value, (Architecture, Structure, np.generic, torch.Tensor, np.ndarray)):
        text = json.dumps(value, indent=1, default=np.ndarray.tolist if isinstance(value, dict) else int)
        file.write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert space.parse(text) == space.parse(file) == architecture


@pytest.mark.parametrize("space", SPACES)
def test_what_format_writes_is_read_in_files_and_as_it_is_printed(space: SearchSpace, tmp_path: Path) -> None:
    import random

    rng = random.Random(0)
    for architecture in (space.sample(rng) for _ in range(20)):
        text = space.format(architecture)
        file = tmp_path / "a network.txt"
        for written in (text, f"\n{text}\r\n", repr(text), json.dumps(text), repr(architecture)):
            file.write_text(written)
            assert space.parse(written) == space.parse(file) == space.parse(str(file)) == architecture
        file.write_text(text, encoding="utf-16")
        assert space.parse(file) == architecture


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("0", 0),
        ("000284", 284),
        ("15624", 15_624),
        (f"CellStructure(4 nodes with {TEXT})", CELL),
        ("2,1,3,0,1,4", CELL),
        ("2 1 3 0 1 4", CELL),
        ("[2 1 3 0 1 4]", CELL),
        ("(np.int64(2), np.int64(1), np.int64(3), 0, 1, 4)", CELL),
        ("tensor([2, 1, 3, 0, 1, 4], dtype=torch.int32)", CELL),
        (" ".join(NAMES).join("[]").replace(" ", "' '").replace("[", "['").replace("]", "']"), CELL),
    ],
)
def test_ways_to_write_a_cell(text: str, cell: Architecture | int) -> None:
    assert CELLS.parse(text) == (list(CELLS.enumerate())[cell] if isinstance(cell, int) else cell)


def test_indices_are_those_of_the_benchmark() -> None:
    for number, cell in list(enumerate(CELLS.enumerate()))[::500]:
        assert CELLS.parse(number) == CELLS.parse(str(number)) == cell


def test_indices_are_those_of_the_published_table(data_root: Path) -> None:
    import csv
    import gzip

    with gzip.open(data_root / "nas_bench_201" / "nb201.csv.gz", "rt") as table:
        rows = list(csv.DictReader(table))
    for row in rows[::97]:
        assert CELLS.format(CELLS.parse(row["index"])) == row["arch_str"]


def test_the_shared_networks_are_read(data_root: Path) -> None:
    cases = data_root.parent / "cases"
    if not cases.is_dir():
        pytest.skip(f"no cases at {cases}")
    with pytest.warns(UserWarning, match=r"input_size=192 apart \(--input-size 192\)"):
        found = STAGES.parse(cases / "ofa_net.json")
    assert STAGES.to_config(found)["d"] == [2, 3, 4, 3, 3]
    subnet = json.loads((cases / "NAT-M1.net.subnet").read_text())
    layers = STAGES.layers(STAGES.parse(str(cases / "NAT-M1.net.subnet")))
    assert [layer for stage in layers for layer in stage] == [*zip(subnet["ks"], subnet["e"], strict=True)]
    assert [len(stage) for stage in layers] == subnet["d"]
    assert STAGES.from_config(subnet) == (STAGES.parse(subnet), 224)


# -- of OFA and NAT ----------------------------------------------------------------------------------------------------
@given(st.integers(0, 10**6))
def test_layers_may_be_listed_without_those_that_are_not_there(seed: int) -> None:
    import random

    config = STAGES.to_config(network := STAGES.sample_balanced(random.Random(seed)))
    assert STAGES.parse(listed(config)) == network and STAGES.from_config(listed(config)) == (network, 224)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"r": 192}, r"input_size=192 apart \(--input-size 192\)"),
        ({"r": [256], "w": 1.2}, r"input_size=256 and width=1.2 apart \(--input-size 256 --width 1.2\)"),
        ({"wid": 1.2}, "width=1.2"),
    ],
)
def test_what_is_no_part_of_the_architecture_is_said(said: dict[str, Any], message: str) -> None:
    with pytest.warns(UserWarning, match=message):
        assert STAGES.parse(CONFIG | said) == NETWORK


def test_the_usual_resolution_and_width_need_no_word() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for said in ({}, {"r": [224]}, {"w": 1}, {"wid": None}):
            assert STAGES.parse(CONFIG | said) == NETWORK


@pytest.mark.parametrize(
    ("space", "value", "message"),
    [
        (CELLS, "64:32:16:64:8", "NATS-Bench's size space"),
        (CELLS, -1, "indices of cells run from 0 to 15624, got -1"),
        (CELLS, "15625", "indices of cells run from 0 to 15624, got 15625"),
        (CELLS, True, "no cell is bool"),
        (CELLS, (2, 1, 3, 0, 1, 5), "6 operation indices of 0 to 4"),
        (CELLS, CONFIG, "no cell is dict"),
        (CELLS, str(CONFIG), "no cell is dict"),
        (CELLS, [[("nor_conv_3x3", 0)], [("none", 0)], GENOTYPE[2]], "node 2 must have 2 inputs, got 1"),
        (CELLS, [[("nor_conv_3x3", 1)], *GENOTYPE[1:]], "node 1 has one input from each node before it"),
        (CELLS, [[("nor_conv3x3", 0)], *GENOTYPE[1:]], "did you mean 'nor_conv_3x3'"),
        (CELLS, [["nor_conv_3x3"], *GENOTYPE[1:]], r"node 1 must be a list of \(operation, input\)"),
        (CELLS, "cell.json", "there is no file 'cell.json', nor is it a network"),
        (CELLS, {"architecture": TEXT, "space": "other"}, "a network of the space 'other', not of 'nasbench201'"),
        (CELLS, object(), "a network is no object"),
        (CELLS, b"|none~0|", "a network is no bytes"),
        (STAGES, {"blocks": []}, "such as a net.subnet"),
        (STAGES, CONFIG | {"r": "large"}, "r must be the side of the images"),
        (STAGES, CONFIG | {"w": -1}, "w must be the multiplier of all channels"),
        (STAGES, CONFIG | {"ks": CONFIG["ks"][:9]}, "ks must be 20 values, each 3, 5 or 7, got 9 values"),
        (STAGES, CONFIG | {"d": [2] * 6}, "d must be 5 values"),
        (STAGES, 5, "got int: 5"),
        (TOY, 5, "expected a network of 'toy', such as its text; got int: 5"),
        (TOY, "[1, 2]", "joined by '>', got"),
    ],
)
def test_what_is_no_network_is_refused(space: SearchSpace, value: Any, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        space.parse(value)


# -- files that are none -----------------------------------------------------------------------------------------------
def hostile(folder: Path) -> list[Path]:
    files = {
        "empty": b"",
        "bytes": bytes(range(128, 256)),
        "zeros": bytes(1000),
        "utf16": b"\xff\xfe\x00",
        "deep": b"[" * 50_000,
        "deep dict": b'{"a":' * 15_000,
        "digits": b"9" * 90_000,
        "signs": b"-" * 90_000,
        "exponent": b"1e999",
        "arrays": b"array([" * 10_000 + b"]" * 10_000,
        "numpy": b"np.np." * 15_000,
        "quotes": b"'" * 90_001,
        "itself": json.dumps({"architecture": str(folder / "itself")}).encode(),
        "many": b"[" + b"0," * 45_000 + b"0]",
        "large": b" " * (LONGEST + 1),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with (folder / "huge").open("wb") as file:
        file.truncate(1 << 40)  # takes no room
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "nowhere").symlink_to("not there")
    return [*folder.iterdir(), folder / "absent.json", Path("/dev/zero"), Path("/dev/null")]


@pytest.mark.parametrize("space", SPACES)
def test_files_that_hold_no_network_are_refused_quickly(space: SearchSpace, tmp_path: Path) -> None:
    for path in hostile(tmp_path):
        begin = time.process_time()
        tracemalloc.start()
        for given_as in (path, str(path)):
            with pytest.raises(ArchitectureError) as refusal:
                space.parse(given_as)
            assert len(str(refusal.value)) < 1000
        assert tracemalloc.get_traced_memory()[1] < 100e6, path
        tracemalloc.stop()
        assert time.process_time() - begin < 5, path


@pytest.mark.parametrize("key", ["candidates", "networks"])
def test_a_file_of_several_networks_asks_for_one(key: str, tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text(json.dumps({key: [{"architecture": TEXT}, {"architecture": TEXT}]}))
    with pytest.raises(ArchitectureError, match="holds 2 networks; name the one to use, such as"):
        CELLS.parse(tmp_path / "found.json")


def test_a_text_that_is_a_network_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(TEXT).write_text("nothing")
    Path("284").write_text(TEXT)
    assert CELLS.parse(TEXT) == CELL and CELLS.parse("284") == CELLS.parse(284)
    assert CELLS.parse("./284") == CELL


# -- fuzzing -----------------------------------------------------------------------------------------------------------
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
words = st.sampled_from(["ks", "e", "d", "r", "w", "wid", "architecture", "space", "nor_conv_3x3", "none", "Identity"])
values = st.recursive(
    plain | words | st.integers(0, 7) | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=7)
        | st.lists(inner, max_size=7).map(tuple)
        | st.dictionaries(words | st.integers(), inner, max_size=6)
        | st.sets(st.integers(), max_size=3)
    ),
    max_leaves=30,
)
pieces = st.sampled_from(
    [
        *"[](){},:'\"|+-~.0123456789 \n\0eE#\\",
        *("nor_conv_3x3", "none", "~0", "k3e6", "k5e4-", "np.int64(", "array([", "'ks'", "'d'", "None", "true", TEXT),
        *("Structure(4 nodes with ", "Architecture(space='nasbench201', choices=("),
    ]
)


def reads_or_refuses(space: SearchSpace, value: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = space.parse(value)
        except ArchitectureError as error:
            message = str(error)
        else:
            message = repr(space.validate(found))
    assert 0 < len(message) < 1000


@pytest.mark.parametrize("space", SPACES)
@given(value=values)
def test_any_values_are_read_or_refused(space: SearchSpace, value: Any) -> None:
    reads_or_refuses(space, value)
    reads_or_refuses(space, repr(value))


@pytest.mark.parametrize("space", SPACES)
@given(text=st.text(max_size=60) | st.lists(pieces, max_size=25).map("".join))
def test_any_text_is_read_or_refused(space: SearchSpace, text: str) -> None:
    reads_or_refuses(space, text)


@given(
    st.fixed_dictionaries(
        {"d": st.lists(st.integers(1, 5), min_size=4, max_size=6)},
        optional={
            **{name: st.lists(st.sampled_from([3, 4, 5, 6, 7, None]), min_size=9, max_size=21) for name in ("ks", "e")},
            **{name: plain | st.sampled_from([128, 224, 1.2]) for name in ("r", "w", "wid", "image_size")},
        },
    )
)
def test_any_configuration_is_read_or_refused(config: dict[str, Any]) -> None:
    reads_or_refuses(STAGES, config)


@given(content=st.binary(max_size=200))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(content)
    for space in SPACES:
        reads_or_refuses(space, file)


@pytest.mark.parametrize("space", SPACES)
def test_numbers_and_texts_without_end_are_refused(space: SearchSpace) -> None:
    large = 10**5000
    for value in (large, -large, [large] * 6, {"d": large}, {large: 1}, {"space": large, "architecture": "a"}):
        reads_or_refuses(space, value)
    for text in ("9" * 99_999, "[" * 99_999, "|" * 10**6, "+" * 99_999, "-" * 99_999, "k" + "3" * 99_999, "~" * 99_999):
        reads_or_refuses(space, text)


def test_lists_without_end_are_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    wide: Any = [0]
    for _ in range(9):
        wide = [wide] * 20
    for value in (endless, wide, torch.empty(10**4, 10**4, device="meta"), np.broadcast_to(0, (10**6, 10**6))):
        for space in SPACES:
            with pytest.raises(ArchitectureError):
                space.parse(value)


def test_nothing_in_a_text_is_run() -> None:
    for text in ("__import__('os').getcwd()", "np.array(exit())", "[1][0]", "{1: 2}", "1+1", "f''", "(lambda: 0)()"):
        with pytest.raises(ArchitectureError):
            CELLS.parse(text)
    with pytest.raises(ValueError, match="no value"):
        values_of("[exit()]")


# -- where networks are taken ------------------------------------------------------------------------------------------
def test_functions_take_any_notation() -> None:
    scores = score_architectures(CELLS, [TEXT, NASLIB, CELLS.index(CELL), 284], "flops")
    assert {score.architecture for score in scores.scores} == {TEXT, CELLS.format(CELLS.parse(284))}
    small = {"channels": 4, "cells": 1}
    assert ImageClassifier(CELLS, GENOTYPE, 2, options=small).architecture == CELL


def test_a_part_of_a_space_reads_the_same_notations() -> None:
    part = RestrictedSpace(CELLS, [[1, 3], [0], [1], [2], [0], [4]])
    for value in (TEXT, NASLIB, GENOTYPE, str(NASLIB), CELLS.index(CELL), CELL):
        assert part.parse(value) == CELL
    for value in (0, "0", [0] * 6):
        with pytest.raises(ArchitectureError, match="outside the part"):
            part.parse(value)
