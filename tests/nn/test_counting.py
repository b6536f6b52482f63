from __future__ import annotations

from torch import nn

from metad2a_plugin.nn.counting import count_cost


def test_grouped_convolutions_and_shared_layers() -> None:
    layer = nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False)
    assert count_cost(lambda: nn.Sequential(layer.to("meta"), layer), 5) == (27, 2 * 3 * 9 * 25)


def test_trainable_parameters_and_linear_layers() -> None:
    def build() -> nn.Module:
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5), nn.Linear(5, 2, bias=False))
        network[2].weight.requires_grad = False
        return network

    assert count_cost(build, 4) == (48 * 5 + 5, 48 * 5 + 5 * 2)
