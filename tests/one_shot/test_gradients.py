"""Gradients through a step, exact and by finite differences, against brute force in double precision."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from one_shot_toys import coloured, tiny

from metad2a_plugin.one_shot.bilevel import Batch
from metad2a_plugin.one_shot.config import FORMS
from metad2a_plugin.one_shot.darts import DARTS, Loss, Tensors, differenced_gradient, next_weights, unrolled_gradient
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


def test_of_smooth_losses_they_are_exact_differences_but_for_a_percent() -> None:
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
    found = flat(differenced_gradient(inner, outer, [alpha], [w], moved, LR))
    wanted = exact(inner, outer, [alpha], [w], LR)
    assert_near(found, wanted, 0.01)
    step = next_weights(inner, [alpha], torch.optim.SGD([w], LR), differentiable=True)
    assert_near(flat(unrolled_gradient(outer, [alpha], step)), wanted, 1e-12)
    # The step matters: without it the gradient is another one.
    assert (direct(outer, [alpha], moved) - wanted).norm() > 0.1 * wanted.norm()


def test_what_does_not_depend_on_the_step_has_its_plain_gradient() -> None:
    alpha, w = (torch.ones(2, requires_grad=True) for _ in range(2))
    [found] = differenced_gradient(
        lambda upper, lower: (upper[0] * lower[0]).sum(), lambda upper, lower: 3 * upper[0].sum(), [alpha], [w], [w], LR
    )
    assert found.tolist() == [3.0, 3.0]
    [found] = unrolled_gradient(lambda upper, lower: 3 * upper[0].sum(), [alpha], [w])
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
    found = flat(differenced_gradient(inner, outer, alpha, weights, moved, lr, 1e-5))
    plain = direct(outer, alpha, moved)
    assert_near(found - plain, wanted - plain, 0.01)


def test_of_the_architecture_exactly(search: PassingTests) -> None:
    """With the step's momentum and weight decay, against differences of the loss after steps that are really taken."""
    search.optimizer = torch.optim.SGD(search.supernet.parameters(), 0.05, 0.9, weight_decay=0.01)
    train, bank, other = batches(search, 3)
    for batch in (other, train):
        search._step_weights(batch)
    found = {form: search.alpha_gradient(train, bank, form)[1] for form in FORMS}
    before = [copy.deepcopy(part.state_dict()) for part in (search.supernet, search.optimizer)]
    start = search.alpha.data.clone()

    def after(alpha: torch.Tensor) -> torch.Tensor:
        search.alpha.data = alpha
        search._step_weights(train)
        with torch.no_grad():
            loss = search.loss([search.alpha], list(search.supernet.parameters()), bank)
        for part, state in zip((search.supernet, search.optimizer), before, strict=True):
            part.load_state_dict(copy.deepcopy(state))
        return loss

    generator = torch.Generator().manual_seed(2)
    for _ in range(3):
        direction = 1e-6 * torch.randn(start.shape, generator=generator, dtype=torch.float64)
        wanted = (after(start + direction) - after(start - direction)) / 2
        slope = {form: (gradient * direction).sum() for form, gradient in found.items()}
        torch.testing.assert_close(slope["exact"], wanted, rtol=1e-4, atol=0.0)
        assert (slope["none"] - wanted).abs() > 10 * (slope["exact"] - wanted).abs(), "the step must matter"


def test_an_exact_gradient_changes_nothing(search: PassingTests) -> None:
    train, bank = batches(search, 2)
    before = {name: tensor.clone() for name, tensor in search.supernet.state_dict().items()}
    moved, _ = search.alpha_gradient(train, bank, "exact")
    assert search.alpha.grad is None and not any(weight.requires_grad for weight in moved)
    assert all(tensor.equal(before[name]) for name, tensor in search.supernet.state_dict().items())
    assert all(weight.grad is None for weight in search.supernet.parameters())


def test_of_the_selector(search: PassingTests) -> None:
    learned, validation, bank = batches(search, 3)
    losses = torch.linspace(0.5, 3, 8, dtype=torch.float64)
    selector, tester = list(search.selector.parameters()), list(search.tester.parameters())
    stage_two = partial(search.stage_two, batch=learned, bank=bank)
    outer = partial(search.stage_three, validation=validation, bank=bank, losses=losses)
    lr = search.config.tester_lr
    moved = next_weights(stage_two, selector, search.tester_optimizer)
    wanted = exact(stage_two, outer, selector, tester, lr)
    found = flat(differenced_gradient(partial(search.bank_loss, bank=bank), outer, selector, tester, moved, lr, 1e-5))
    plain = direct(outer, selector, moved)
    assert_near(found - plain, wanted - plain, 0.01)
    step = next_weights(stage_two, selector, search.tester_optimizer, differentiable=True)
    assert_near(flat(unrolled_gradient(outer, selector, step)) - plain, wanted - plain, 1e-9)


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
