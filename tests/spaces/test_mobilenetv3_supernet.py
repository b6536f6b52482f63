"""The supernet: every network is a part of it, files of OFA's layout are read, and training reaches the weights."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.func import functional_call

from metad2a_plugin.errors import ArchitectureError, CheckpointError
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.mobilenetv3 import network as networks
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.spaces.mobilenetv3.supernet import MobileNetV3Supernet, load_supernet, plain_name, save_supernet

SPACE = MobileNetV3Space()
LARGEST = SPACE.parse("+".join(["k7e6-k7e6-k7e6-k7e6"] * 5))
MIXED = SPACE.parse("k5e4-k3e3-k7e6+k7e6-k3e3+k3e4-k3e3-k5e6-k7e3+k3e3-k3e3+k7e6-k7e6-k7e6-k3e3")
IMAGES = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def supernet() -> MobileNetV3Supernet:
    """With running statistics and kernel transformations as if trained."""
    torch.manual_seed(0)
    made = MobileNetV3Supernet(5, width=0.25)
    for name, tensor in made.state_dict().items():
        if "running" in name:
            tensor.uniform_(0.5, 2)
        elif "matrix" in name:
            tensor.add_(0.1 * torch.randn_like(tensor))
    return made.eval()


@torch.inference_mode()
def test_called_it_is_the_largest_network(supernet: MobileNetV3Supernet) -> None:
    torch.testing.assert_close(supernet.extract(LARGEST)(IMAGES), supernet(IMAGES))


@torch.inference_mode()
def test_every_network_is_a_part(supernet: MobileNetV3Supernet) -> None:
    rng = random.Random(0)
    for architecture in (MIXED, *(SPACE.sample(rng) for _ in range(3))):
        network = supernet.extract(architecture)
        built = SPACE.build(architecture, 5, width=0.25).eval()
        built.load_state_dict(network.state_dict())
        torch.testing.assert_close(built(IMAGES), network(IMAGES))
        assert not network.training


@torch.inference_mode()
def test_the_classifier_keeps_the_classes_asked_for(supernet: MobileNetV3Supernet) -> None:
    all_of_them = supernet.extract(MIXED)(IMAGES)
    torch.testing.assert_close(supernet.extract(MIXED, torch.tensor([4, 1]))(IMAGES), all_of_them[:, [4, 1]])


def test_extracted_weights_are_copies(supernet: MobileNetV3Supernet) -> None:
    network = supernet.extract(MIXED)
    before = supernet.first_conv.state_dict()["conv.weight"].clone()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    torch.testing.assert_close(supernet.first_conv.state_dict()["conv.weight"], before)


def test_a_smaller_kernel_is_the_mapped_centre_of_the_larger(supernet: MobileNetV3Supernet) -> None:
    weights = supernet.state_dict()
    layer = "blocks.1.conv.depth_conv.conv"
    centre = weights[f"{layer}.weight"][:, :, 1:6, 1:6].flatten(1) @ weights[f"{layer}.7to5_matrix"].T
    five = centre.view(-1, 1, 5, 5)
    three = (five[:, :, 1:4, 1:4].flatten(1) @ weights[f"{layer}.5to3_matrix"].T).view(-1, 1, 3, 3)
    for kernel, expected in ((5, five), (3, three)):
        architecture = SPACE.parse(f"k{kernel}e6-k3e3" + "+k3e3-k3e3" * 4)
        found = supernet.weights(architecture)[f"{layer}.weight"]
        torch.testing.assert_close(found, expected)


def test_gradients_reach_what_a_network_uses_and_nothing_else(supernet: MobileNetV3Supernet) -> None:
    network = SPACE.build(MIXED, 5, width=0.25)
    functional_call(network, supernet.weights(MIXED), (IMAGES,)).sum().backward()
    gradients = {name: parameter.grad for name, parameter in supernet.named_parameters()}
    supernet.zero_grad()
    # The first stage has three layers, the first with e4.
    assert gradients["blocks.4.conv.point_linear.conv.weight"] is None
    used = gradients["blocks.1.conv.point_linear.conv.weight"]
    assert used is not None
    stem = supernet.state_dict()["first_conv.conv.weight"].shape[0]
    assert used[:, : 4 * stem].abs().sum() > 0 and not used[:, 4 * stem :].any()


def test_other_spaces_are_refused(supernet: MobileNetV3Supernet) -> None:
    with pytest.raises(ArchitectureError):
        supernet.extract(Architecture("nasbench201", (0,) * 6))


# -- files ---------------------------------------------------------------------------------------
def ofa_name(name: str) -> str:
    """As the files of OFA's model zoo name a weight of a supernet."""
    if name.startswith("blocks.") and not name.startswith("blocks.0."):
        for part in ("conv", "bn"):
            if not name.endswith("_matrix"):
                name = name.replace(f".{part}.weight", f".{part}.{part}.weight") if ".se." not in name else name
        for part in ("bias", "running_mean", "running_var", "num_batches_tracked"):
            name = name.replace(f".bn.{part}", f".bn.bn.{part}")
    return name.replace(".conv.", ".mobile_inverted_conv.", 1)


def same(a: nn.Module, b: nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_what_is_saved_is_read(supernet: MobileNetV3Supernet, tmp_path: Path) -> None:
    save_supernet(tmp_path / "s.safetensors", supernet)
    assert same(load_supernet(tmp_path / "s.safetensors"), supernet)


@pytest.mark.parametrize("wrapped", [False, True])
def test_files_of_ofas_layout_are_read(tmp_path: Path, wrapped: bool) -> None:
    supernet = MobileNetV3Supernet(3)
    weights = {ofa_name(name): tensor for name, tensor in supernet.state_dict().items()}
    assert "blocks.1.mobile_inverted_conv.depth_conv.conv.7to5_matrix" in weights
    assert "blocks.1.mobile_inverted_conv.depth_conv.conv.conv.weight" in weights
    torch.save({"state_dict": weights} if wrapped else weights, tmp_path / "ofa")
    found = load_supernet(tmp_path / "ofa")
    assert same(found, supernet)
    assert (found.width, found.num_classes, found.training) == (1.0, 3, False)


@pytest.mark.parametrize("content", [b"", b"nothing", "missing", "other"])
def test_other_files_are_refused(content: bytes | str, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "other":
        torch.save(nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(CheckpointError, match="holds no weights of a MobileNetV3 supernet"):
        load_supernet(path)


def test_names_are_plain() -> None:
    assert plain_name("blocks.3.conv.depth_conv.conv.5to3_matrix") == "blocks.3.conv.depth_conv.conv.5to3_matrix"


# -- depthwise convolutions ----------------------------------------------------------------------
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (4, 6), (6, 4), (2, 9), (12, 12)])
def test_depthwise_convolutions_train_as_any_other(kernel: int, stride: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    quick = networks.DepthwiseConv2d(4, 4, kernel, stride, kernel // 2, groups=4, bias=False).double()
    plain = nn.Conv2d(4, 4, kernel, stride, kernel // 2, groups=4, bias=False).double()
    plain.load_state_dict(quick.state_dict())
    images = torch.randn(3, 4, *size, dtype=torch.float64)
    outputs = []
    for layer in (quick, plain):
        given = images.clone().requires_grad_()
        y = layer(given)
        (y * torch.arange(y.numel()).view(y.shape)).sum().backward()
        outputs.append((y, given.grad, layer.weight.grad))
    torch.testing.assert_close(*outputs)
