from __future__ import annotations

import fisher_orders
import pytest
import torch

from metad2a_plugin.similarity.fisher import Fisher, log_determinant_distance


def fisher(seed: int) -> Fisher:
    generator = torch.Generator().manual_seed(seed)
    sizes = {"first.weight": (4, 3), "first.bias": (4,), "head.weight": (2, 4)}
    return {n: torch.rand(s, generator=generator, dtype=torch.float64) ** 8 / 20 for n, s in sizes.items()}


def test_the_paper_s_form_is_the_package_s() -> None:
    found = fisher_orders.log_determinant(fisher(0), fisher(1))
    assert found == pytest.approx(log_determinant_distance(fisher(0), fisher(1)))


@pytest.mark.parametrize("form", fisher_orders.FORMS)
def test_a_task_is_at_no_distance_from_itself(form: str) -> None:
    distance = fisher_orders.FORMS[form]
    assert distance(fisher(0), fisher(0)) == 0 < distance(fisher(0), fisher(1))


def test_shrunk_all_the_way_only_the_means_of_layers_count() -> None:
    one = {"layer.weight": torch.tensor([1.0, 3.0]), "layer.bias": torch.tensor([2.0])}
    other = {"layer.weight": torch.tensor([2.0, 2.0]), "layer.bias": torch.tensor([2.0])}
    assert fisher_orders.FORMS["means of layers"](one, other) == pytest.approx(0)
    assert fisher_orders.log_determinant(one, other) == pytest.approx(abs(torch.tensor(3 / 4).log().item()) / 3)
