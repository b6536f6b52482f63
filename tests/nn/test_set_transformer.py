from __future__ import annotations

import math

import pytest
import torch

from metad2a_plugin.nn.set_transformer import MAB, SetEncoder


def test_attention_is_scaled_by_the_full_width_and_added_to_the_queries() -> None:
    torch.manual_seed(0)
    block = MAB(5, 7, 8, heads=2)
    queries, items = torch.randn(3, 4, 5), torch.randn(3, 6, 7)
    q, k, v = block.fc_q(queries), block.fc_k(items), block.fc_v(items)
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        weights = (q[..., part] @ k[..., part].mT / math.sqrt(8)).softmax(-1)
        heads.append(q[..., part] + weights @ v[..., part])
    out = torch.cat(heads, dim=-1)
    torch.testing.assert_close(block(queries, items), out + block.fc_o(out).relu())


@pytest.fixture(scope="module")
def encoder() -> SetEncoder:
    torch.manual_seed(0)
    return SetEncoder(feature_dim=16, latent=8, heads=2)


def test_order_of_classes_and_images_does_not_matter(encoder: SetEncoder) -> None:
    rng = torch.Generator().manual_seed(1)
    sets = torch.randn(2, 5, 6, 16, generator=rng)
    shuffled = sets[:, torch.randperm(5, generator=rng)]
    for c in range(5):
        shuffled[:, c] = shuffled[:, c, torch.randperm(6, generator=rng)]
    torch.testing.assert_close(encoder(shuffled), encoder(sets))


def test_which_image_is_in_which_class_does_matter(encoder: SetEncoder) -> None:
    sets = torch.randn(1, 2, 3, 16, generator=torch.Generator().manual_seed(2))
    swapped = sets.clone()
    swapped[:, 0, 0], swapped[:, 1, 0] = sets[:, 1, 0], sets[:, 0, 0]
    assert (encoder(swapped) - encoder(sets)).abs().max() > 1e-3


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 1), (3, 1, 4), (2, 7, 2)])
def test_any_number_of_sets_classes_and_images(encoder: SetEncoder, shape: tuple[int, int, int]) -> None:
    sets = torch.randn(*shape, 16)
    codes = encoder(sets)
    assert codes.shape == (shape[0], 8)
    torch.testing.assert_close(torch.cat([encoder(one[None]) for one in sets]), codes)
