from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
import pytest
import torch
from metad2a_plugin.adapters import _nni_host
from metad2a_plugin.adapters._nni_bridge import Bridge, bridge_of, number

from metad2a_plugin.errors import ArchitectureError, ConfigError, HostError, MissingExtraError
from metad2a_plugin.spaces.nasbench201 import NASBench201

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
    bridge = Bridge(choices(prefix, ops))
    cells = list(SPACE.enumerate())
    samples = [bridge.sample(cell) for cell in cells]
    assert len({tuple(sorted(sample.items())) for sample in samples}) == SPACE.size
    assert [bridge.architecture(sample) for sample in samples] == cells
    assert [bridge_of(sample).architecture(sample) for sample in samples[::97]] == cells[::97]


def test_labels_are_edges_and_values_the_operations_of_the_string() -> None:
    cell = SPACE.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|")
    assert Bridge(choices()).sample(cell) == {
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
        ({**choices(), "cell/0_1": SHORT[:4]}, "'cell/0_1' has the choices none, skip_connect, conv_1x1, conv_3x3;"),
        (choices(ops=(*SHORT, "max_pool_3x3")), "max_pool_3x3; the strategies know NasBench201"),
    ],
)
def test_other_spaces_are_refused_by_what_they_have(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        Bridge(space)
    assert "NasBench201" in str(refusal.value)


@pytest.mark.parametrize("change", [{"cell/0_1": "conv_5x5"}, {"cell/0_1": None}])
def test_malformed_samples_are_refused(change: dict[str, Any]) -> None:
    sample = Bridge(choices()).sample(next(SPACE.enumerate())) | change
    with pytest.raises(ArchitectureError, match="no sample of NasBench201"):
        Bridge(choices()).architecture(sample)


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

    def version(name: str) -> str:
        if name not in versions:
            raise _nni_host.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(_nni_host, "version", version)


@pytest.mark.parametrize("there", [{}, {"nni": "3.0"}])
def test_without_nni_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, there: dict[str, str]) -> None:
    installed(monkeypatch, **there)
    with pytest.raises(MissingExtraError, match=r"pip install 'metad2a-plugin\[nni\]'"):
        _nni_host.check()


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
        _nni_host.check()
    assert "pip install" in str(refusal.value)


def test_a_host_that_does_not_import_is_refused_with_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, pytorch_lightning="2.7", nni="3.0", filelock="3.11.0")

    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(HostError, match="does not import: RuntimeError: operator torchvision::nms"):
        _nni_host.check()


@pytest.mark.skipif(importlib.util.find_spec("nni") is not None, reason="NNI is installed")
def test_importing_the_adapter_without_nni_names_the_extra() -> None:
    with pytest.raises(MissingExtraError, match="the NNI adapter needs the package 'nni'"):
        importlib.import_module("metad2a_plugin.adapters.nni")
