"""Whatever is typed ends in the package's own errors, soon, with little memory, and in a short message."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hostile_toys import NUMBERS, TEXTS, VALUES, altered_text, altered_value
from hypothesis import given, settings
from hypothesis import strategies as st

from metad2a_plugin.candidates.find import Effort
from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.cli.options import limit_options, network_options
from metad2a_plugin.contest.config import AutoConfig, encoders, seconds_of
from metad2a_plugin.data.encoders import get_encoder
from metad2a_plugin.errors import MetaD2AError
from metad2a_plugin.models.checkpoint import load_checkpoint
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.plugins.registry import entry, get_space
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.testing.toy import ToySpace
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.utils.checks import did_you_mean, parse_options

CELLS, STAGES, TOY = NASBench201(), MobileNetV3Space(), ToySpace()
CELL, STAGE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|", "k3e3-k5e4+k7e6-k3e3"
_SETTINGS = dict.fromkeys(("latency_table", "max_latency", "max_params", "max_flops", "input_size", "network"))
_SETTINGS |= dict.fromkeys(("channels", "cells", "width"))


def limits_of(text: str) -> object:
    return Limits.of(CELLS, limit_options(_SETTINGS | {"max_latency": [text]}))




def table_of(text: str) -> object:
    return Limits.of(STAGES, limit_options(_SETTINGS | {"latency_table": [text]})).measured


def options_of(text: str) -> object:
    return CELLS.cost_options(network_options([text]))


CONFIGURATION = '{"ks": [3], "e": [3], "d": [2], "r": 224}'
TEXT_PARSERS: dict[str, tuple[Callable[[str], Any], list[str]]] = {
    "cell": (CELLS.parse, [CELL, "[0, 1, 2, 3, 4, 0]", "15624", f"Structure(4 nodes with {CELL})", '{"arch_str": 1}']),
    "stages": (STAGES.parse, [STAGE, CONFIGURATION, "Architecture(space='a', choices=(1,))"]),
    "toy": (TOY.parse, ["0-1-2", "[0, 1]", "x.json"]),
    "option": (lambda text: parse_options([text]), ["batch-size=64", "cells=[1, 2]", 'a={"b": 1}', "x=1e5", "a=NaN"]),
    "network": (options_of, ["channels=16", "cells=5", "num_classes=10", "input_size=8"]),
    "limit": (limits_of, ["pixel3=10", "pixel3=1e-3", "pixel2=nan", "eyeriss=inf"]),
    "table": (table_of, ["a=b.yaml", "a=b.json"]),
    "time": (seconds_of, ["30m", "1h30m", "90s", "1.5h"]),
    "space": (get_space, ["nasbench201", "nasbench-201"]),
    "strategy": (lambda text: entry("strategies", text), ["random", "metad2a"]),
    "encoder": (get_encoder, ["defaul", "timm:x", "torchvision:resnet"]),
    "checkpoint": (load_checkpoint, ["nasbench-201"]),
    "hint": (lambda text: did_you_mean(text, ["nasbench201"]), ["nasbench"]),
}
_TRAINING = {"epochs": 3, "lr": 0.1, "batch_size": 16, "options": {"channels": 16}, "seed": 0, "warmup": 0.1}
VALUE_PARSERS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "cell": (CELLS.parse, [0, 1, 2, 3, 4, 0]),
    "stages": (STAGES.parse, STAGES.to_config(STAGES.sample(random.Random(0)))),
    "training": (lambda value: TrainConfig(**value), _TRAINING),
    "plain training": (TrainConfig.from_dict, {"epochs": 3, "channels": 16, "width": None}),
    "budget": (Budget.of, {"epochs": 3, "lr": 0.1, "batch_size": 16, "images": 100, "flip": False, "channels": 16}),
    "auto": (lambda value: encoders(AutoConfig(**value)), {"seconds": 60, "validation": 0.1, "encoders": ["default"]}),
    "effort": (lambda value: Effort(**value), {"candidates": 3, "refine": 2, "seed": 0, "points": 5, "queries": 300}),
    "limits": (
        lambda value: Limits.of(CELLS, value).to_dict(),
        {"max_params": 1.0, "max_flops": 100, "max_latency": {"pixel3": 10}, "input_size": 32, "channels": 16},
    ),
    "options": (lambda value: CELLS.cost(CELLS.parse(CELL), **value), {"channels": 16, "cells": 5, "input_size": 32}),
    "width": (lambda value: STAGES.cost(STAGES.sample(random.Random(0)), **value), {"width": 1.0, "num_classes": 10}),
}


def only_own_errors(parse: Callable[[Any], Any], given: Any, longest: int = 2000) -> None:
    """Fails for another error, a long message, or one that cannot be shown."""
    begin, message = time.process_time(), ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parse(given)
        except MetaD2AError as error:
            message = str(error)
    assert time.process_time() - begin < 5
    message.encode()
    assert len(message) <= longest
    if isinstance(given, str):
        windows = range(0, len(given) - 300, max(1, len(given) // 50))
        assert not any(given[i : i + 300].strip() and given[i : i + 300] in message for i in windows)


def text_case(kind: str, seed: int) -> None:
    rng = random.Random(seed)
    parse, samples = TEXT_PARSERS[kind]
    only_own_errors(parse, rng.choice(TEXTS) if rng.random() < 0.2 else altered_text(rng, rng.choice(samples)))


@pytest.mark.parametrize("given", ["'" * 900 + "a", "a' b' ", "a' \" b", "x y ", 'a" ', "a\\' ", "don't do it "])
def test_what_is_quoted_is_cut_whatever_it_has_of_quotation_marks(given: str) -> None:
    given = (given * 900)[:900]
    message = str(MetaD2AError(f"the plug-in's name is unknown: {given!r}; give another, such as 'resnet'"))
    assert len(message) < 300
    assert message.endswith("; give another, such as 'resnet'")


def value_case(kind: str, seed: int) -> None:
    parse, sample = VALUE_PARSERS[kind]
    value = altered_value(random.Random(seed), sample)
    if isinstance(sample, dict):  # a name that is missing or unknown is Python's own error
        value = {name: value.get(name, one) for name, one in sample.items()} if isinstance(value, dict) else sample
    only_own_errors(parse, value)


@pytest.mark.parametrize("kind", TEXT_PARSERS)
def test_every_text_of_the_list_ends_in_own_errors(kind: str) -> None:
    parse, (sample, *_) = TEXT_PARSERS[kind]
    name, equals, _ = sample.partition("=")
    # Looking for a name among plug-ins takes its time.
    for text in TEXTS[:: 7 if kind in ("space", "strategy", "encoder") else 1]:
        only_own_errors(parse, text)
        if equals:
            only_own_errors(parse, f"{name}={text}")


@pytest.mark.parametrize("kind", VALUE_PARSERS)
def test_every_value_of_the_list_ends_in_own_errors(kind: str) -> None:
    parse, sample = VALUE_PARSERS[kind]
    for value in [*VALUES, *NUMBERS]:
        for name in sample if isinstance(sample, dict) else ():
            only_own_errors(parse, sample | {name: value})
        if kind in ("cell", "stages"):
            only_own_errors(parse, value)
            only_own_errors(parse, [value] * 6)


SEEDS = st.integers(0, 2**32)


@settings(max_examples=60)
@given(kind=st.sampled_from(list(TEXT_PARSERS)), seed=SEEDS)
def test_altered_texts_end_in_own_errors(kind: str, seed: int) -> None:
    text_case(kind, seed)


@settings(max_examples=40)
@given(kind=st.sampled_from(list(VALUE_PARSERS)), seed=SEEDS)
def test_altered_values_end_in_own_errors(kind: str, seed: int) -> None:
    value_case(kind, seed)


@pytest.mark.slow
@settings(max_examples=2000)
@given(kind=st.sampled_from(list(TEXT_PARSERS)), seed=SEEDS)
def test_thousands_of_altered_texts_end_in_own_errors(kind: str, seed: int) -> None:
    text_case(kind, seed)


@pytest.mark.slow
@settings(max_examples=2000)
@given(kind=st.sampled_from(list(VALUE_PARSERS)), seed=SEEDS)
def test_thousands_of_altered_values_end_in_own_errors(kind: str, seed: int) -> None:
    value_case(kind, seed)
