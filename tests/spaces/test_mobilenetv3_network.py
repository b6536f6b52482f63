from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import nn

from metad2a_plugin.spaces import Architecture
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space

SPACE = MobileNetV3Space()
SHALLOW, DEEP = (SPACE.parse("+".join(["-".join([layer] * depth)] * 5)) for layer, depth in (("k3e3", 2), ("k7e6", 4)))
MIXED = SPACE.parse("k5e4-k3e3-k7e6+k7e6-k3e3+k3e4-k3e3-k5e6-k7e3+k3e3-k3e3+k7e6-k7e6-k7e6-k3e3")


def count_macs(network: nn.Module, size: int) -> int:
    """Every weight of a convolution or linear layer is used once per output position; biases do not count."""
    total = 0

    def count(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        total += layer.weight.numel() * output[0, 0].numel()

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    network.eval()(torch.zeros(1, 3, size, size, device=next(network.parameters()).device))
    return total


def small(architecture: Architecture, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return SPACE.build(architecture, 5, width=0.25)


@pytest.mark.parametrize(
    "options",
    [
        {"num_classes": 1000, "input_size": 224, "width": 1.0},
        {"num_classes": 1000, "input_size": 128, "width": 1.2},
        {"num_classes": 10, "input_size": 32, "width": 1},
        {"num_classes": 1, "input_size": 37, "width": 0.35},
        {"num_classes": 7, "input_size": 1, "width": 0.1},
        {"num_classes": 3, "input_size": 97, "width": 1.7},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_built_networks_cost_what_cost_says(options: dict[str, Any]) -> None:
    rng = random.Random(0)
    for network in (SHALLOW, DEEP, MIXED, *(SPACE.sample(rng) for _ in range(2))):
        with torch.device("meta"):
            built = SPACE.build(network, options["num_classes"], width=options["width"])
        cost = SPACE.cost(network, **options)
        assert sum(p.numel() for p in built.parameters()) / 1e6 == cost.params
        assert count_macs(built, options["input_size"]) / 1e6 == cost.flops


@pytest.mark.parametrize("size", [(1, 1), (32, 32), (33, 64)])
def test_networks_take_images_of_any_size(size: tuple[int, int]) -> None:
    assert small(MIXED).eval()(torch.randn(2, 3, *size)).shape == (2, 5)


def test_every_parameter_is_trained() -> None:
    network = small(MIXED)
    network(torch.randn(4, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_weights_are_named_as_ofas() -> None:
    state = SPACE.build(MIXED, 1000).state_dict()
    for name, shape in {
        "first_conv.conv.weight": (16, 3, 3, 3),
        "first_conv.bn.running_var": (16,),
        "blocks.0.conv.depth_conv.conv.weight": (16, 1, 3, 3),
        "blocks.0.conv.point_linear.bn.bias": (16,),
        "blocks.1.conv.inverted_bottleneck.conv.weight": (64, 16, 1, 1),
        "blocks.1.conv.depth_conv.conv.weight": (64, 1, 5, 5),
        "blocks.3.conv.point_linear.conv.weight": (24, 144, 1, 1),
        "blocks.4.conv.depth_conv.se.fc.reduce.weight": (40, 144, 1, 1),
        "blocks.4.conv.depth_conv.se.fc.expand.bias": (144,),
        "blocks.15.conv.point_linear.conv.weight": (160, 480, 1, 1),
        "final_expand_layer.conv.weight": (960, 160, 1, 1),
        "final_expand_layer.bn.num_batches_tracked": (),
        "feature_mix_layer.conv.weight": (1280, 960, 1, 1),
        "classifier.linear.weight": (1000, 1280),
        "classifier.linear.bias": (1000,),
    }.items():
        assert tuple(state[name].shape) == shape, name
    absent = ("blocks.0.conv.inverted", "blocks.16.", "blocks.1.conv.depth_conv.se")
    assert not any(name.startswith(absent) for name in state)


def test_both_namings_of_blocks_are_read_strictly() -> None:
    source, images = small(MIXED, 1), torch.randn(2, 3, 32, 32)
    source(images)  # moves the running statistics
    state = source.state_dict()
    former = {
        name.replace(".conv.", ".mobile_inverted_conv.", 1) if name.startswith("blocks.") else name: value
        for name, value in state.items()
    }
    assert "blocks.1.mobile_inverted_conv.inverted_bottleneck.conv.weight" in former
    for spelling in (state, former):
        network = small(MIXED, 2)
        assert network.load_state_dict(spelling, strict=True).missing_keys == []
        assert torch.equal(network.eval()(images), source.eval()(images))
    with pytest.raises(RuntimeError, match="Missing key"):
        small(MIXED).load_state_dict({name: value for name, value in former.items() if "classifier" not in name})
    with pytest.raises(RuntimeError, match="size mismatch"):
        small(SPACE.neighbors(MIXED)[0]).load_state_dict(former)


def test_networks_repeat_with_their_seed() -> None:
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(small(MIXED)(images), small(MIXED)(images))
