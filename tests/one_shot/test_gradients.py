"""The finite-difference gradients against exact ones, by autograd through the unrolled step, in double precision."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from one_shot_toys import coloured, tiny

from metad2a_plugin.one_shot.darts import DARTS, Loss, Tensors, next_weights, unrolled_gradient
from metad2a_plugin.one_shot.loop import Batch
from metad2a_plugin.one_shot.passing_tests import PassingTests, PassingTestsConfig

LR = 0.5


def exact(inner: Loss, outer: Loss, upper: Tensors, lower: Tensors, lr: float) -> torch.Tensor:
    """Gradient of the outer loss after one step down the inner one, momentum being none."""
    gradients = torch.autograd.grad(inner(upper, lower), lower, create_graph=True, materialize_grads=True)
    moved = [w - lr * g for w, g in zip(lower, gradients, strict=True)]
    return flat(torch.autograd.grad(outer(upper, moved), upper))


def flat(tensors: Tensors) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def direct(outer: Loss, upper: Tensors, moved: Tensors) -> torch.Tensor:
    return flat(torch.autograd.grad(outer(upper, moved), upper))


def assert_near(found: torch.Tensor, wanted: torch.Tensor, share: float) -> None:
    assert (found - wanted).norm() < share * wanted.norm(), (found, wanted)


def test_of_smooth_losses_it_is_exact_but_for_a_percent() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing, alpha, w = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((3, 4), (3,), (4,))
    )

    def inner(upper: Tensors, lower: Tensors) -> torch.Tensor:
        return ((upper[0].tanh() @ mixing.detach() + lower[0]) ** 2).log1p().sum()

    def outer(upper: Tensors, lower: Tensors) -> torch.Tensor:
        return 5 * (lower[0] ** 2).sum() + upper[0].sin().sum()

    moved = next_weights(inner, [alpha], torch.optim.SGD([w], LR))
    found = flat(unrolled_gradient(inner, outer, [alpha], [w], moved, LR))
    wanted = exact(inner, outer, [alpha], [w], LR)
    assert_near(found, wanted, 0.01)
    # The step matters: without it the gradient is another one.
    assert (direct(outer, [alpha], moved) - wanted).norm() > 0.1 * wanted.norm()


def test_what_does_not_depend_on_the_step_has_its_plain_gradient() -> None:
    alpha, w = (torch.ones(2, requires_grad=True) for _ in range(2))
    [found] = unrolled_gradient(
        lambda upper, lower: (upper[0] * lower[0]).sum(), lambda upper, lower: 3 * upper[0].sum(), [alpha], [w], [w], LR
    )
    assert found.tolist() == [3.0, 3.0]


@pytest.fixture
def search() -> PassingTests:
    """In double precision, with batches that differ."""
    search = PassingTests(coloured(6, 6, 6), tiny(PassingTestsConfig, momentum=0.0, weight_decay=0.0, gamma=2.0))
    for module in (search.supernet, search.tester, search.selector):
        module.double()
    search.alpha.data = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return search


def batches(search: DARTS, count: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    classes = len(search.data.class_names)
    return [
        Batch(
            torch.randn(8, 3, 8, 8, generator=generator, dtype=torch.float64),
            torch.randint(classes, (8,), generator=generator),
        )
        for _ in range(count)
    ]


def test_of_the_architecture(search: PassingTests) -> None:
    train, bank = batches(search, 2)
    selection = torch.linspace(0.1, 0.9, 8, dtype=torch.float64)
    inner = partial(search.loss, batch=train)
    outer = partial(search.loss, batch=bank, selection=selection)
    alpha, weights = [search.alpha], list(search.supernet.parameters())
    lr = search.optimizer.param_groups[0]["lr"] = 0.05
    moved = next_weights(inner, alpha, search.optimizer)
    wanted = exact(inner, outer, alpha, weights, lr)
    found = flat(unrolled_gradient(inner, outer, alpha, weights, moved, lr, 1e-5))
    plain = direct(outer, alpha, moved)
    assert_near(found - plain, wanted - plain, 0.01)


def test_of_the_selector(search: PassingTests) -> None:
    learned, validation, bank = batches(search, 3)
    losses = torch.linspace(0.5, 3, 8, dtype=torch.float64)
    selector, tester = list(search.selector.parameters()), list(search.tester.parameters())
    stage_two = partial(search.stage_two, batch=learned, bank=bank)
    outer = partial(search.stage_three, validation=validation, bank=bank, losses=losses)
    lr = search.config.tester_lr
    moved = next_weights(stage_two, selector, search.tester_optimizer)
    wanted = exact(stage_two, outer, selector, tester, lr)
    found = flat(unrolled_gradient(partial(search.bank_loss, bank=bank), outer, selector, tester, moved, lr, 1e-5))
    plain = direct(outer, selector, moved)
    assert_near(found - plain, wanted - plain, 0.01)


def test_the_step_ahead_is_the_optimiser_s_and_is_not_taken() -> None:
    search = DARTS(coloured(6, 6, 6), tiny())
    train, *_ = [search.batch(search.data.images, search.data.labels, torch.arange(8))]
    inner, alpha = partial(search.loss, batch=train), [search.alpha]
    weights = list(search.supernet.parameters())
    for _ in range(2):  # the first step has no momentum yet
        before = [w.detach().clone() for w in weights]
        ahead = next_weights(inner, alpha, search.optimizer)
        assert all(w.equal(b) for w, b in zip(weights, before, strict=True))
        search.optimizer.zero_grad()
        inner(alpha, weights).backward()
        search.optimizer.step()
        for w, a in zip(weights, ahead, strict=True):
            torch.testing.assert_close(w, a)
