from __future__ import annotations

import importlib
import importlib.util
import itertools
import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from metad2a_plugin.adapters import _nni_compat
from metad2a_plugin.adapters._nni_bridge import architecture_of, bridge_of_sample, bridge_of_space, number
from metad2a_plugin.adapters._nni_mobilenetv3 import SETTINGS, check_settings

from metad2a_plugin.errors import ArchitectureError, ConfigError, HostError, MissingExtraError
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.spaces.nasbench201.space import NASBench201

SPACE = NASBench201()
LABELS = ("0_1", "0_2", "1_2", "0_3", "1_3", "2_3")
SHORT = ("none", "skip_connect", "conv_1x1", "conv_3x3", "avg_pool_3x3")
LONG = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def choices(prefix: str = "cell/", ops: tuple[str, ...] = SHORT) -> dict[str, tuple[str, ...]]:
    return {prefix + label: ops for label in LABELS}


# -- samples -------------------------------------------------------------------------------------
@pytest.mark.parametrize("prefix", ["cell/", "", "stage/one/"])
@pytest.mark.parametrize("ops", [SHORT, LONG, tuple(reversed(SHORT))], ids=["short", "long", "reversed"])
def test_every_cell_goes_there_and_back(prefix: str, ops: tuple[str, ...]) -> None:
    found = bridge_of_space(choices(prefix, ops))
    cells = list(SPACE.enumerate())
    samples = [found.sample(cell) for cell in cells]
    assert len({tuple(sorted(sample.items())) for sample in samples}) == SPACE.size
    assert [found.architecture(sample) for sample in samples] == cells
    assert [bridge_of_sample(sample).architecture(sample) for sample in samples[::97]] == cells[::97]


def test_labels_are_edges_and_values_the_operations_of_the_string() -> None:
    cell = SPACE.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|")
    assert bridge_of_space(choices()).sample(cell) == {
        "cell/0_1": "conv_3x3",
        "cell/0_2": "none",
        "cell/1_2": "skip_connect",
        "cell/0_3": "conv_1x1",
        "cell/1_3": "none",
        "cell/2_3": "avg_pool_3x3",
    }


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "none at all"),
        ({"layer1": ("a", "b")}, "has the labels layer1$"),
        (dict.fromkeys(("1", "2", "12", "3", "13", "23"), SHORT), "YAML reads 0_1 as a number, so write 'cell/0_1'"),
        ({**choices(), "lr": (0.1, 0.2)}, "has the labels .*lr"),
        ({1: SHORT, 2: SHORT}, r"got 1 \(int\): YAML reads 0_1 as a number, so write 'cell/0_1'"),
        ({True: SHORT}, r"got True \(bool\)"),
        ({None: SHORT}, r"got None \(NoneType\)"),
        ({**choices(), "cell/0_1": ()}, "'cell/0_1' has the choices none at all; the strategies know"),
        ({**choices(), "cell/0_1": (None, "skip_connect")}, "None is no text: put names between quotes"),
        ({**choices(), "cell/0_1": (["none"],)}, "is no text"),
        ({**choices(), "cell/0_1": ("conv_1x1", "nor_conv_1x1")}, "the choices conv_1x1, nor_conv_1x1; .*each once"),
        ({k: v for k, v in choices().items() if k != "cell/1_3"}, "lacks 1_3: a fixed edge is a choice of one"),
        ({"s2_depth": (1, 2), "s2_i0": ("k3e3", "k5e3")}, "labels of ProxylessNAS, which is no search space"),
        (choices(ops=(*SHORT, "max_pool_3x3")), "max_pool_3x3; the strategies know NasBench201"),
    ],
)
def test_other_spaces_are_refused_by_what_they_have(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        bridge_of_space(space)
    assert "NasBench201" in str(refusal.value)


@given(data=st.data())
def test_fewer_choices_are_a_part_of_the_space(data: st.DataObject) -> None:
    own = {label: tuple(data.draw(st.sets(st.sampled_from(SHORT), min_size=1))) for label in LABELS}
    assume(max(map(len, own.values())) > 1)
    found = bridge_of_space(own)
    assert found.space.size == math.prod(map(len, own.values()))
    samples = [found.sample(cell) for cell in itertools.islice(found.space.enumerate(), 20)]
    assert all(sample[label] in own[label] for sample in samples for label in LABELS)
    assert [found.architecture(sample) for sample in samples] == list(map(architecture_of, samples))
    outside = {label: next((op for op in SHORT if op not in names), None) for label, names in own.items()}
    if label := next((label for label, op in outside.items() if op is not None), None):
        with pytest.raises(ArchitectureError, match="no sample of NasBench201"):
            found.architecture(samples[0] | {label: outside[label]})


def test_one_choice_everywhere_is_no_search() -> None:
    with pytest.raises(ConfigError, match="nothing to search"):
        bridge_of_space(dict.fromkeys(LABELS, ("conv_3x3",)))


@pytest.mark.parametrize("more", [{"lr": 0.1}, {"train/lr": 0.1, "batch": 3}, {"optimizer": {"_name": "sgd"}}])
def test_other_hyper_parameters_of_a_sample_are_passed_over(more: dict[str, Any]) -> None:
    for sample in (bridge_of_space(choices()).sample(next(SPACE.enumerate())), ofa_sample()):
        assert architecture_of(sample | more) == architecture_of(sample)


@pytest.mark.parametrize("sample", [None, [1], {1: "none"}, "text", {None: 1}])
def test_what_is_no_sample_gets_a_sentence(sample: Any) -> None:
    with pytest.raises(ArchitectureError, match="a sample has values by label"):
        architecture_of(sample)


@pytest.mark.parametrize("change", [{"cell/0_1": "conv_5x5"}, {"cell/0_1": None}, {"cell/0_1": []}])
def test_malformed_samples_are_refused(change: dict[str, Any]) -> None:
    sample = bridge_of_space(choices()).sample(next(SPACE.enumerate())) | change
    with pytest.raises(ArchitectureError, match="no sample of NasBench201"):
        bridge_of_space(choices()).architecture(sample)


# -- MobileNetV3 ---------------------------------------------------------------------------------
OFA = MobileNetV3Space()
WIDTHS = (16, 16, 24, 40, 80, 112, 160, 960, 1280)
LAYERS = [f"s{stage}_i{layer}" for stage in range(1, 6) for layer in range(4)]


def ofa_sample() -> dict[str, Any]:
    return bridge_of_space(ofa_choices()).sample(OFA.sample(random.Random(0)))


def ofa_choices(prefix: str = "") -> dict[str, tuple[Any, ...]]:
    """As NNI's space has them, in its order."""
    found: dict[str, tuple[Any, ...]] = {"stem_ks": (3, 5), "s0_i0_ks": (3, 5, 7)}
    found |= {f"s{stage}_depth": (2, 3, 4) for stage in range(1, 6)}
    found |= {f"{layer}_{what}": o for layer in LAYERS for what, o in (("exp", (3, 4, 6)), ("ks", (3, 5, 7)))}
    return {prefix + label: values for label, values in found.items()}


def networks() -> st.SearchStrategy[Architecture]:
    """With any depths, as likely as each other, and with those of the space's own sampler."""
    configs = st.fixed_dictionaries(
        {
            "ks": st.lists(st.sampled_from((3, 5, 7)), min_size=20, max_size=20),
            "e": st.lists(st.sampled_from((3, 4, 6)), min_size=20, max_size=20),
            "d": st.lists(st.sampled_from((2, 3, 4)), min_size=5, max_size=5),
        }
    )
    return st.one_of(
        configs.map(lambda config: OFA.from_config(config)[0]),
        st.integers(0, 2**32).map(lambda seed: OFA.sample(random.Random(seed))),
    )


@pytest.mark.parametrize("prefix", ["", "backbone/"])
@given(network=networks())
def test_every_network_goes_there_and_back(prefix: str, network: Architecture) -> None:
    choices = ofa_choices(prefix)
    sample = bridge_of_space(choices).sample(network)
    assert sample.keys() == choices.keys() and all(value in choices[label] for label, value in sample.items())
    assert sample[prefix + "stem_ks"] == sample[prefix + "s0_i0_ks"] == 3
    assert bridge_of_space(choices).architecture(sample) == bridge_of_sample(sample).architecture(sample) == network


@given(data=st.data())
def test_what_a_sample_says_of_layers_that_are_not_there_means_nothing(data: st.DataObject) -> None:
    sample = {label: data.draw(st.sampled_from(values)) for label, values in ofa_choices().items()}
    sample |= {"stem_ks": 3, "s0_i0_ks": 3}
    network = bridge_of_sample(sample).architecture(sample)
    config = {
        "ks": [sample[f"{layer}_ks"] for layer in LAYERS],
        "e": [sample[f"{layer}_exp"] for layer in LAYERS],
        "d": [sample[f"s{stage}_depth"] for stage in range(1, 6)],
    }
    assert network == OFA.from_config(config)[0]
    again = bridge_of_sample(sample).sample(network)
    unused = {layer for layer in LAYERS if int(layer[4]) >= sample[f"s{layer[1]}_depth"]}
    changed = {label for label, value in sample.items() if again[label] != value}
    assert {label.rpartition("_")[0] for label in changed} <= unused
    absent = {label: value for label, value in sample.items() if label.rpartition("_")[0] not in unused}
    assert bridge_of_sample(absent).architecture(absent) == network


def test_labels_are_stages_and_layers_and_values_kernels_ratios_and_depths() -> None:
    network = OFA.parse("k5e4-k3e6+k7e3-k3e3-k3e4+k3e3-k5e6-k7e4-k3e3+k3e3-k3e3+k5e3-k7e6")
    sample = bridge_of_space(ofa_choices()).sample(network)
    assert [sample[f"s{stage}_depth"] for stage in range(1, 6)] == [2, 3, 4, 2, 2]
    assert [sample[f"{layer}_ks"] for layer in LAYERS[:8]] == [5, 3, 3, 3, 7, 3, 3, 3]
    assert [sample[f"{layer}_exp"] for layer in LAYERS[:8]] == [4, 6, 3, 3, 3, 3, 4, 3]


def test_a_sample_is_spelled_as_the_model_space_does() -> None:
    choices = ofa_choices() | {f"{layer}_exp": (6.0, 4.0, 3.0) for layer in LAYERS}
    sample = bridge_of_space(choices).sample(OFA.sample(random.Random(0)))
    assert {type(sample[f"{layer}_exp"]) for layer in LAYERS} == {float}
    assert bridge_of_space(choices).architecture(sample) == OFA.sample(random.Random(0))


def test_the_two_fixed_kernels_can_be_left_out_or_have_one_choice() -> None:
    network = OFA.sample(random.Random(0))
    for fixed in ({}, {"stem_ks": (3,), "s0_i0_ks": (3,)}):
        choices = {label: values for label, values in ofa_choices().items() if label.endswith(("p", "h"))}
        choices |= {f"{layer}_ks": (3, 5, 7) for layer in LAYERS} | fixed
        sample = bridge_of_space(choices).sample(network)
        assert sample.keys() == choices.keys()
        assert bridge_of_sample(sample).architecture(sample) == network


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"s1_depth": (1, 2, 3, 4)}, "'s1_depth' has the choices 1, 2, 3, 4, it must offer 2, 3, 4 .*: make it with"),
        ({"s2_i3_exp": (3, 6)}, r"3, 6, it must offer 3, 4, 6 \(parts of this space cannot be searched\)"),
        ({"s1_depth": ("2", "3", "4")}, "'s1_depth' has the choices '2', '3', '4', it must offer 2, 3, 4"),
        ({"stem_ks": (5, 7)}, "'stem_ks' has the choices 5, 7, it must offer 3"),
        ({"s0_width_mult": (0.5, 1.0)}, "also has the label 's0_width_mult', unlike Once-for-All's network: make"),
        ({"lr": (0.1, 0.2)}, "also has the label 'lr'"),
        ({"s5_i3_ks": None}, "lacks the label 's5_i3_ks'"),
    ],
)
def test_other_choices_of_mobilenetv3_are_refused(change: dict[str, Any], message: str) -> None:
    choices = {label: values for label, values in (ofa_choices() | change).items() if values is not None}
    with pytest.raises(ConfigError, match=message) as refusal:
        bridge_of_space(choices)
    assert "ofa_space(width=1.0, num_classes=1000)" in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem_ks": 5}, "'stem_ks' must be 3 in Once-for-All's network, got 5; a model space of ofa_space"),
        ({"s1_depth": 1}, "'s1_depth' must be 2 or 3 or 4, got 1"),
        ({"s3_i0_exp": 2.5}, "'s3_i0_exp' must be 3 or 4 or 6, got 2.5"),
        ({"s3_i0_ks": "3"}, "'s3_i0_ks' must be 3 or 5 or 7, got '3'"),
        ({"s1_width_mult": 1.0}, "no choice 's1_width_mult'"),
        ({"s4_i1_ks": None}, "the sample has no 's4_i1_ks'"),
        ({"s4_depth": None}, "the sample has no 's4_depth'"),
    ],
)
def test_malformed_samples_of_mobilenetv3_are_refused(change: dict[str, Any], message: str) -> None:
    sample = bridge_of_space(ofa_choices()).sample(OFA.sample(random.Random(0))) | change
    sample = {label: value for label, value in sample.items() if value is not None}
    with pytest.raises(ArchitectureError, match=message):
        bridge_of_sample(sample).architecture(sample)


def settings(**change: Any) -> dict[str, Any]:
    return {**SETTINGS, "width_multipliers": 1.0, "num_labels": 10, "dropout_rate": 0.5, "bn_momentum": 0.01, **change}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"base_widths": list(WIDTHS), "width_multipliers": 1.2},
        {"expand_ratios": [6.0, 3.0, 4.0]},
        {"depth_range": [2, 4]},
        {"depth_range": [(2, 4), [2, 4], (2, 4), (2, 4), (2, 4)]},
        {"width_multipliers": 0.35},
    ],
)
def test_settings_of_ofa_s_network_pass_however_they_are_written(change: dict[str, Any]) -> None:
    check_settings(settings(**change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"base_widths": (16, 16, 16, 32, 64, 128, 256, 512, 1024)},
            r"base_widths is \(16, 16, 16, .*, not \(16, 16, 24",
        ),
        ({"base_widths": WIDTHS[:-1]}, "base_widths"),
        ({"expand_ratios": (1, 2, 3, 4, 5, 6)}, r"expand_ratios is \(1, 2, 3, 4, 5, 6\), not \(3, 4, 6\)"),
        ({"depth_range": (1, 4)}, r"depth_range is \(1, 4\), not \(2, 4\)"),
        ({"depth_range": [(2, 4)] * 4 + [(2, 3)]}, "depth_range"),
        ({"squeeze_excite": ("none", "none", "optional", "none", "optional", "optional")}, "squeeze_excite"),
        ({"stride": (2, 1, 2, 2, 2, 1, 1, 1, 1)}, "stride"),
        ({"activation": ("swish",) * 9}, "activation"),
        ({"se_from_exp": False}, "se_from_exp is False, not True"),
        ({"bn_eps": 1e-3}, "bn_eps is 0.001, not 1e-05"),
        ({"width_multipliers": (0.5, 1.0)}, r"width_multipliers is \(0.5, 1.0\), not a single float such as 1.0"),
        ({"width_multipliers": 0.0}, "width_multipliers is 0.0, not a single float"),
        ({"width_multipliers": 0.96}, "0.96, for which NNI rounds the channels of a layer differently"),
    ],
)
def test_other_settings_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        check_settings(settings(**change))
    assert "make it with metad2a_plugin.adapters.nni.ofa_space(" in str(refusal.value)
    assert len(str(refusal.value).split("; ")) == 1  # and no others


# -- metrics -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "metric", [0.5, 1, np.float32(0.5), torch.tensor(0.5), {"default": 0.5}, {"default": 1, "other": "text"}]
)
def test_numbers_are_metrics(metric: Any) -> None:
    assert number(metric) == float(metric["default"] if isinstance(metric, dict) else metric)


@pytest.mark.parametrize(
    "metric",
    [float("nan"), float("inf"), -float("inf"), "0.5", b"1", True, None, [1.0], {}, {"acc": 1.0}, {"default": "1"}],
)
def test_all_else_is_none(metric: Any) -> None:
    assert number(metric) is None


# -- the host ------------------------------------------------------------------------------------
def installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """As if these packages were there, and no others of NNI's."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in versions else None)

    monkeypatch.setattr(_nni_compat, "version_of", lambda name, unknown="": versions.get(name, unknown))


@pytest.mark.parametrize("there", [{}, {"nni": "3.0"}])
def test_without_nni_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, there: dict[str, str]) -> None:
    installed(monkeypatch, **there)
    with pytest.raises(MissingExtraError, match=r"pip install 'metad2a-plugin\[nni\]'"):
        _nni_compat.check()


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({"nni": "2.10.1"}, "needs NNI 3.0, found 2.10.1"),
        ({"nni": "3.0", "filelock": "3.12"}, "hang at their start with filelock 3.12"),
        ({"nni": "3.0", "filelock": "3.20.1"}, "hang at their start with filelock 3.20.1"),
    ],
)
def test_a_host_that_cannot_work_is_refused(
    monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], message: str
) -> None:
    installed(monkeypatch, pytorch_lightning="2.6", **versions)
    with pytest.raises(HostError, match=message) as refusal:
        _nni_compat.check()
    assert "pip install" in str(refusal.value)


def test_a_host_that_does_not_import_is_refused_with_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, pytorch_lightning="2.7", nni="3.0", filelock="3.11.0")

    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(HostError, match="does not import: RuntimeError: operator torchvision::nms"):
        _nni_compat.check()


@pytest.mark.skipif(importlib.util.find_spec("nni") is not None, reason="NNI is installed")
def test_importing_the_adapter_without_nni_names_the_extra() -> None:
    with pytest.raises(MissingExtraError, match="the NNI adapter needs the package 'nni'"):
        importlib.import_module("metad2a_plugin.adapters.nni")
