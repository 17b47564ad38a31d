"""The reference's loss and optimiser steps are PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

from ranspec.analysis.reference import (
    adam_step,
    clipped,
    cross_entropy,
    mixed_labels,
    moving_average,
    rmsprop_step,
    sgd_step,
)

RATES = [0.1, 0.1, 0.01, 0.01, 0.001]


def gradients() -> list[np.ndarray]:
    rng = np.random.default_rng(4)
    return [rng.normal(size=(3, 4)) for _ in RATES]


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_cross_entropy_agrees_with_torch(label_smoothing: float) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    logits, labels = rng.normal(0, 3, (6, 5)), rng.integers(0, 5, 6)
    loss, gradient = cross_entropy(logits, labels, label_smoothing)
    leaf = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        leaf, torch.tensor(labels), label_smoothing=label_smoothing
    )
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-13)
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_cross_entropy_of_mixed_labels_agrees_with_torch(label_smoothing: float) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(6)
    logits = rng.normal(0, 3, (6, 5))
    targets = mixed_labels(rng.integers(0, 5, 6), rng.uniform(size=6), 5)
    loss, gradient = cross_entropy(logits, targets, label_smoothing)
    leaf = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        leaf, torch.tensor(targets), label_smoothing=label_smoothing
    )
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-13)
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=1e-12, atol=1e-15)


def test_labels_are_mixed_with_the_neighbours() -> None:
    mixed = mixed_labels(np.array([0, 2, 1, 1]), np.array([0.75, 1.0, 0.5, 0.25]), 3)
    np.testing.assert_array_equal(
        mixed, [[0.75, 0.0, 0.25], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    )


def test_gradients_are_clipped_by_the_norm_of_all_together() -> None:
    gradients = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]])}
    half = clipped(gradients, 2.5)
    np.testing.assert_array_equal(half["a"], [1.5, 0.0])
    np.testing.assert_array_equal(half["b"], [[2.0]])
    kept = clipped(gradients, 5.0)
    np.testing.assert_array_equal(kept["a"], gradients["a"])


def test_clipping_is_that_of_torch_but_for_its_epsilon() -> None:
    torch = pytest.importorskip("torch")
    leaf = torch.zeros(3, 4, requires_grad=True)
    for gradient in gradients():
        leaf.grad = torch.tensor(gradient, dtype=torch.float32)
        torch.nn.utils.clip_grad_norm_([leaf], 1.0)
        ours = clipped({"a": gradient}, 1.0)["a"]
        np.testing.assert_allclose(ours, leaf.grad.numpy(), rtol=2e-6)


def test_a_moving_average_keeps_its_share() -> None:
    average = np.zeros(2)
    for value in (1.0, 2.0, 4.0):
        average = moving_average(average, np.full(2, value), 0.5)
    np.testing.assert_array_equal(average, [2.625, 2.625])


def test_cross_entropy_of_large_logits_is_finite() -> None:
    loss, gradient = cross_entropy(np.array([[1e4, -1e4]]), np.array([1]), 0.0)
    assert loss == 2e4
    np.testing.assert_array_equal(gradient, [[1.0, -1.0]])


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_agrees_with_torch_when_the_learning_rate_drops(nesterov: bool) -> None:
    torch = pytest.importorskip("torch")
    parameter, velocity = np.linspace(-1, 1, 12).reshape(3, 4), np.zeros((3, 4))
    leaf = torch.tensor(parameter, requires_grad=True)
    optimizer = torch.optim.SGD([leaf], lr=1, momentum=0.9, nesterov=nesterov, weight_decay=0.05)
    for rate, gradient in zip(RATES, gradients(), strict=True):
        parameter, velocity = sgd_step(
            parameter,
            gradient,
            velocity,
            learning_rate=rate,
            momentum=0.9,
            nesterov=nesterov,
            weight_decay=0.05,
        )
        optimizer.param_groups[0]["lr"] = rate
        leaf.grad = torch.tensor(gradient)
        optimizer.step()
    np.testing.assert_allclose(parameter, leaf.detach().numpy(), rtol=1e-12)


def test_adam_agrees_with_torch_when_the_learning_rate_drops() -> None:
    torch = pytest.importorskip("torch")
    parameter = np.linspace(-1, 1, 12).reshape(3, 4)
    first, second = np.zeros((3, 4)), np.zeros((3, 4))
    leaf = torch.tensor(parameter, requires_grad=True)
    optimizer = torch.optim.Adam([leaf], betas=(0.8, 0.95), eps=1e-3, weight_decay=0.05)
    for step, (rate, gradient) in enumerate(zip(RATES, gradients(), strict=True), start=1):
        parameter, first, second = adam_step(
            parameter,
            gradient,
            first,
            second,
            step=step,
            learning_rate=rate,
            beta1=0.8,
            beta2=0.95,
            epsilon=1e-3,
            weight_decay=0.05,
        )
        optimizer.param_groups[0]["lr"] = rate
        leaf.grad = torch.tensor(gradient)
        optimizer.step()
    np.testing.assert_allclose(parameter, leaf.detach().numpy(), rtol=1e-12)


def test_rmsprop_agrees_with_torch_when_the_learning_rate_drops() -> None:
    torch = pytest.importorskip("torch")
    parameter, moment = np.linspace(-1, 1, 12).reshape(3, 4), np.zeros((3, 4))
    leaf = torch.tensor(parameter, requires_grad=True)
    optimizer = torch.optim.RMSprop([leaf], alpha=0.9, eps=0.5, weight_decay=0.05)
    for rate, gradient in zip(RATES, gradients(), strict=True):
        parameter, moment = rmsprop_step(
            parameter,
            gradient,
            moment,
            learning_rate=rate,
            decay=0.9,
            epsilon=0.5,
            weight_decay=0.05,
        )
        optimizer.param_groups[0]["lr"] = rate
        leaf.grad = torch.tensor(gradient)
        optimizer.step()
    np.testing.assert_allclose(parameter, leaf.detach().numpy(), rtol=1e-12)


def test_single_precision_stays_single() -> None:
    parameter = np.ones((2, 2), np.float32)
    moved = sgd_step(
        parameter,
        parameter,
        parameter,
        learning_rate=0.1,
        momentum=0.9,
        nesterov=True,
        weight_decay=0.01,
    )
    adam = adam_step(
        parameter,
        parameter,
        parameter,
        parameter,
        step=1,
        learning_rate=0.1,
        beta1=0.9,
        beta2=0.99,
        epsilon=1e-8,
        weight_decay=0.01,
    )
    _, gradient = cross_entropy(parameter, np.array([0, 1]), 0.1)
    assert {array.dtype for array in (*moved, *adam, gradient)} == {np.dtype(np.float32)}
