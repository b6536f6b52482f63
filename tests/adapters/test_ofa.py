"""The adapter beside the real package ``ofa``; and what is said where it, or its weights, are absent."""

from __future__ import annotations

import importlib.util
import os
import random
import sys
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from metad2a_plugin.errors import ArchitectureError, CheckpointError, ConfigError, HostError, MissingExtraError
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.spaces.mobilenetv3.supernet import load_supernet, plain_name

ofa = pytest.importorskip(
    "metad2a_plugin.adapters.ofa", reason="adapters are inside the package once it is installed"
)
SPACE = MobileNetV3Space()
SUBNETS = int(os.environ.get("METAD2A_SUBNETS", "6"))  # whose costs are compared; all were equal with 500
MIXED = SPACE.parse("k5e4-k3e3-k7e6+k7e6-k3e3+k3e4-k3e3-k5e6-k7e3+k3e3-k3e3+k7e6-k7e6-k7e6-k3e3")
SMALL = SPACE.parse("+".join(["k3e3-k5e4"] * 5))
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
real = pytest.mark.skipif(
    importlib.util.find_spec("ofa") is None, reason="ofa is not installed (pip install 'metad2a-plugin[ofa]')"
)


def trained(width: float = 1.0, num_classes: int = 7) -> Any:
    """A supernet whose running statistics and kernel transformations look trained."""
    torch.manual_seed(0)
    supernet = ofa.make_supernet(width, num_classes)
    for name, tensor in supernet.state_dict().items():
        if "running" in name:
            tensor.uniform_(0.5, 2)
        elif "matrix" in name:
            tensor.add_(0.1 * torch.randn_like(tensor))
    return supernet


@pytest.fixture(scope="module")
def supernet() -> Any:
    return trained()


def former_name(name: str) -> str:
    """Of a weight, as the files of the model zoo name it."""
    return name.replace(".conv.", ".mobile_inverted_conv.", 1) if name.startswith("blocks.") else name


def draws(n: int, seed: int = 0) -> list[Architecture]:
    """Half of them drawn as the space does, half with every depth as likely, as OFA does."""
    rng = random.Random(seed)
    drawn = [SPACE.sample(rng) for _ in range(n // 2)]
    options: dict[str, tuple[tuple[int, ...], int]] = {"ks": ((3, 5, 7), 20), "e": ((3, 4, 6), 20), "d": ((2, 3, 4), 5)}
    for _ in range(n - n // 2):
        config = {name: rng.choices(values, k=length) for name, (values, length) in options.items()}
        drawn.append(SPACE.from_config(config)[0])
    return drawn


# -- architectures -------------------------------------------------------------------------------
@real
def test_the_active_subnet_is_read_back(supernet: Any) -> None:
    for architecture in draws(50):
        ofa.activate(supernet, architecture)
        assert ofa.active(supernet) == architecture
        supernet.set_active_subnet(**SPACE.to_config(architecture, 160))
        assert ofa.active(supernet) == architecture
    drawn = supernet.sample_active_subnet()
    assert ofa.active(supernet) == SPACE.from_config(drawn)[0]


@real
def test_unused_layers_keep_their_settings(supernet: Any) -> None:
    supernet.set_active_subnet(ks=7, e=6, d=4)
    ofa.activate(supernet, SMALL)
    assert [block.conv.active_kernel_size for block in supernet.blocks[1:5]] == [3, 5, 7, 7]


@real
def test_supernets_without_an_option_are_refused() -> None:
    classes = ofa._classes()[0]
    narrow = classes(n_classes=2, ks_list=[3, 5], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4])
    ofa.activate(narrow, SMALL)
    with pytest.raises(ArchitectureError, match=r"the supernet has the kernels \[3, 5\], not 7"):
        ofa.activate(narrow, MIXED)
    with pytest.raises(ConfigError, match="expected an OFAMobileNetV3, got Linear"):
        ofa.activate(nn.Linear(1, 1), SMALL)
    for method in (ofa.active, ofa.extract):
        with pytest.raises(ConfigError, match="expected a MobileNetV3 of the package ofa, got Linear"):
            method(nn.Linear(1, 1))


# -- networks ------------------------------------------------------------------------------------
@real
@torch.inference_mode()
@pytest.mark.parametrize("width", [1.0, 1.2])
def test_extracted_networks_give_the_same_outputs(width: float) -> None:
    supernet = trained(width)
    supernet.set_active_subnet(ks=5, e=4, d=3)
    before = [(b.conv.active_kernel_size, b.conv.active_expand_ratio) for b in supernet.blocks[1:]]
    for architecture in (MIXED, *draws(4, seed=1)):
        network = ofa.extract(supernet, architecture)
        assert not network.training
        assert [(b.conv.active_kernel_size, b.conv.active_expand_ratio) for b in supernet.blocks[1:]] == before
        assert supernet.runtime_depth == [3] * 5
        ofa.activate(supernet, architecture)
        torch.testing.assert_close(network(IMAGES), supernet(IMAGES))
        torch.testing.assert_close(ofa.extract(supernet)(IMAGES), supernet(IMAGES))
        supernet.set_active_subnet(ks=5, e=4, d=3)


@real
@torch.inference_mode()
@pytest.mark.parametrize("width", [1.0, 1.2])
def test_the_core_reads_a_supernets_file(width: float, tmp_path: Path) -> None:
    supernet = trained(width)
    torch.save({"state_dict": supernet.state_dict()}, tmp_path / "supernet.pth")
    mine = load_supernet(tmp_path / "supernet.pth")
    for architecture in (MIXED, *draws(4, seed=2)):
        network = ofa.extract(supernet, architecture)
        torch.testing.assert_close(mine.extract(architecture)(IMAGES), network(IMAGES))


@real
@torch.inference_mode()
def test_cut_networks_load_strictly_in_both_namings(supernet: Any) -> None:
    ofa.activate(supernet, MIXED)
    cut = supernet.get_active_subnet().eval()
    state = cut.state_dict()
    former = {former_name(name): tensor for name, tensor in state.items()}
    assert former.keys() != state.keys()
    for spelling in (state, former):
        network = SPACE.build(MIXED, 7).eval()
        network.load_state_dict(spelling, strict=True)
        torch.testing.assert_close(network(IMAGES), cut(IMAGES))
    assert [tuple(t.shape) for t in network.state_dict().values()] == [tuple(t.shape) for t in state.values()]


@real
@torch.inference_mode()
def test_networks_that_were_cut_are_read_too() -> None:
    supernet = trained(1.2)
    ofa.activate(supernet, MIXED)
    cut = supernet.get_active_subnet().eval()
    assert ofa.active(cut) == MIXED
    torch.testing.assert_close(ofa.extract(cut)(IMAGES), cut(IMAGES))
    with pytest.raises(ArchitectureError, match="only supernets have several"):
        ofa.extract(cut, SMALL)


@real
def test_settings_of_batch_norm_are_kept_and_other_norms_refused() -> None:
    supernet = ofa.make_supernet(num_classes=2)
    supernet.set_bn_param(momentum=0.3, eps=1e-3)
    norms = [m for m in ofa.extract(supernet, SMALL).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.3)}
    supernet.set_bn_param(momentum=0.1, eps=1e-5, gn_channel_per_group=8)
    with pytest.raises(ConfigError, match="only networks with batch norm and plain convolutions"):
        ofa.extract(supernet, SMALL)


def counted(network: Any, size: int) -> int:
    """Multiply-accumulates by OFA's own counters of layers, summed exactly: OFA sums in float32."""
    from ofa.utils.flops_counter import register_hooks

    total = 0

    def count(layer: Any, inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        register_hooks[type(layer)](layer, inputs, output)
        total += int(layer.total_ops)

    for module in network.modules():
        if register_hooks.get(type(module)) is not None:
            module.register_forward_hook(count)
    network.eval()(torch.zeros(1, 3, size, size, device="meta"))
    return total


@real
@pytest.mark.parametrize(("width", "size"), [(1.0, 224), (1.2, 160)])
def test_costs_are_those_that_ofa_counts(width: float, size: int) -> None:
    from ofa.imagenet_classification.networks import MobileNetV3
    from ofa.utils import count_net_flops, count_parameters

    supernet, drawn = ofa.make_supernet(width), draws(SUBNETS)
    costs = SPACE.costs(SPACE.encode(drawn), width=width, input_size=size)
    for i, architecture in enumerate(drawn):
        ofa.activate(supernet, architecture)
        with torch.device("meta"):
            cut = MobileNetV3.build_from_config(supernet.get_active_net_config())
        if i == 0:
            assert count_net_flops(cut, (1, 3, size, size)) / 1e6 == pytest.approx(float(costs[1][0]), rel=1e-6)
        assert count_parameters(cut) / 1e6 == float(costs[0][i])
        assert counted(cut, size) / 1e6 == float(costs[1][i])


# -- weights -------------------------------------------------------------------------------------
@real
@torch.inference_mode()
@pytest.mark.parametrize("naming", ["present", "former", "short", "bare"])
def test_supernets_are_read_from_files(naming: str, tmp_path: Path) -> None:
    source = trained(1.2, 3)
    state = dict(source.state_dict())
    if naming == "former":
        state = {former_name(name): tensor for name, tensor in state.items()}
    elif naming == "short":
        state = {plain_name(name): tensor for name, tensor in state.items()}
        assert len(state) == len(source.state_dict())
    torch.save(state if naming == "bare" else {"state_dict": state}, tmp_path / "supernet")
    read = ofa.load_supernet(tmp_path / "supernet")
    assert read.width_mult == 1.2 and not read.training
    torch.testing.assert_close(ofa.extract(read, MIXED)(IMAGES), ofa.extract(source, MIXED)(IMAGES))


@real
def test_files_of_something_else_are_refused(tmp_path: Path, supernet: Any) -> None:
    state = supernet.state_dict()
    torch.save({"state_dict": {n: t for n, t in state.items() if "first_conv" not in n}}, tmp_path / "part")
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other")
    torch.save(SPACE.build(SMALL, 2).state_dict(), tmp_path / "subnet")
    torch.save([1], tmp_path / "list")
    torch.save({"classifier.linear.weight": torch.zeros(5, 64)}, tmp_path / "width")
    torch.save({"state_dict": nn.Linear(2, 2)}, tmp_path / "code")
    (tmp_path / "text").write_text("hello")
    for name in ("part", "other", "subnet", "list", "width", "code", "text", "gone"):
        with pytest.raises(CheckpointError, match=f"{name}' holds no weights of an OFA MobileNetV3 supernet"):
            ofa.load_supernet(tmp_path / name)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METAD2A_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@real
def test_weights_of_the_zoo_are_fetched_only_when_asked(
    empty_cache: Path, supernet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fetch(url: str, path: str, progress: bool) -> None:
        asked.append(url)
        torch.save({"state_dict": {former_name(n): t for n, t in supernet.state_dict().items()}}, path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    name = ofa.ZOO[0]
    with pytest.raises(CheckpointError, match="are not on this machine; give download=True to fetch them"):
        ofa.load_supernet(name)
    assert asked == [] and not empty_cache.exists()
    for options in ({"download": True}, {}):
        ofa.load_supernet(name, **options)
    assert len(asked) == 1 and asked[0].endswith(f"/ofa_nets/{name}")


@real
def test_a_network_that_fails_is_said_and_leaves_nothing(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(CheckpointError, match=r"cannot fetch https.*no route.*fetch it elsewhere and give the file"):
        ofa.load_supernet(ofa.ZOO[0], download=True)
    assert not any(path.is_file() for path in empty_cache.rglob("*"))


@real
def test_files_that_ofa_has_fetched_are_found(empty_cache: Path, supernet: Any) -> None:
    folder = Path(".torch", "ofa_nets")
    folder.mkdir(parents=True)
    torch.save({"state_dict": supernet.state_dict()}, folder / ofa.ZOO[0])
    assert ofa.load_supernet(ofa.ZOO[0]).width_mult == 1.0


# -- without the package -------------------------------------------------------------------------
@pytest.fixture
def fresh() -> Any:
    ofa._classes.cache_clear()
    yield
    ofa._classes.cache_clear()


def test_a_missing_package_is_one_sentence(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "ofa" else object())
    activate = lambda network: ofa.activate(network, SMALL)  # noqa: E731
    for call in (ofa.make_supernet, ofa.load_supernet, ofa.active, ofa.extract, activate):
        with pytest.raises(MissingExtraError, match=r"'ofa', which is not installed. .*metad2a-plugin\[ofa\]"):
            call("anything")


def test_another_package_of_that_name_is_said(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(ofa, "import_torchvision", lambda: False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "ofa"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ofa", None)
    with pytest.raises(HostError, match=r"the package ofa cannot be imported .*metad2a-plugin\[ofa\]"):
        ofa.make_supernet()
