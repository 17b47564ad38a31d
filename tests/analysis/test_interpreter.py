"""The reference differentiates whole networks rightly, and changes nothing it is given."""

from __future__ import annotations

import numpy as np
import pytest

from ranspec.analysis.interpreter import (
    Step,
    backward,
    forward,
    linearize,
    training_step,
    updated_statistics,
)
from ranspec.analysis.reference import cross_entropy
from ranspec.verify.experiment import Experiment, experiment
from tests.verify.networks import NETWORKS, tiny


@pytest.fixture(scope="module", params=["depth 2, even size", "grouped bottleneck"])
def run(request: pytest.FixtureRequest) -> Experiment:
    return experiment(NETWORKS[request.param].load())


def test_every_layer_is_one_instruction_in_the_order_of_execution(run: Experiment) -> None:
    program = linearize(run.graph)
    assert [item.path for item in program] == [layer.path for layer in run.graph.layers]
    assert all(index < item.output for item in program for index in item.inputs)


def test_gradients_are_those_of_central_differences(run: Experiment) -> None:
    images, labels = run.batches.images[0], run.batches.labels[0]

    def loss(state: dict[str, np.ndarray]) -> float:
        output = forward(run.graph, state, images, training=True).output
        return cross_entropy(output, labels, 0.1)[0]

    evaluation = forward(run.graph, run.state, images, training=True)
    gradient = cross_entropy(evaluation.output, labels, 0.1)[1]
    gradients = backward(run.graph, run.state, evaluation, gradient)
    trained = {name for name, tensor in run.graph.tensors.items() if tensor.trainable}
    assert gradients.keys() == trained
    generator = np.random.default_rng(0)
    for name in ("stem.conv.weight", "stage1.0.conv1.weight", "head.norm.bias"):
        direction = generator.standard_normal(run.state[name].shape)
        step = 1e-7 * direction
        up = loss({**run.state, name: run.state[name] + step})
        down = loss({**run.state, name: run.state[name] - step})
        expected = (gradients[name] * direction).sum()
        assert (up - down) / 2e-7 == pytest.approx(expected, rel=1e-5, abs=1e-8)


def test_a_step_leaves_what_it_is_given(run: Experiment) -> None:
    before = {name: array.copy() for name, array in run.state.items()}
    result = training_step(
        run.graph,
        run.loaded.spec.train,
        run.state,
        run.batches.images[0],
        run.batches.labels[0],
        learning_rate=0.1,
        step=0,
    )
    for name, array in before.items():
        assert np.array_equal(run.state[name], array)
        assert not np.array_equal(result.state[name], array)


def stepped(*changes: str, batch_size: int = 8) -> tuple[Experiment, Step]:
    """Take the first step of a tiny network's recipe with some changes."""
    run = experiment(tiny(*(f"train.{change}" for change in changes)).load(), batch_size=batch_size)
    images, labels = run.batches.images[0], run.batches.labels[0]
    recipe = run.loaded.spec.train
    result = training_step(
        run.graph, recipe, run.state, images, labels, learning_rate=0.1, step=run.first_step
    )
    return run, result


def test_micro_batches_average_gradients_and_move_the_statistics_in_turn() -> None:
    run, result = stepped("micro_batches=2")
    images, labels = run.batches.images[0], run.batches.labels[0]
    state, losses, shares = run.state, [], []
    for part in (slice(0, None, 2), slice(1, None, 2)):
        evaluation = forward(run.graph, state, images[part], training=True)
        smoothing = run.loaded.spec.train.label_smoothing
        loss, gradient = cross_entropy(evaluation.output, labels[part], smoothing)
        losses.append(loss)
        shares.append(backward(run.graph, state, evaluation, gradient))
        state = {**state, **updated_statistics(run.graph, state, evaluation)}
    assert result.loss == pytest.approx(np.mean(losses), rel=1e-14)
    for name, gradient in result.gradients.items():
        np.testing.assert_allclose(gradient, (shares[0][name] + shares[1][name]) / 2, rtol=1e-11)
    for name, tensor in run.graph.tensors.items():
        if not tensor.trainable:
            assert np.array_equal(result.state[name], state[name])


def test_one_micro_batch_is_the_batch() -> None:
    _, whole = stepped()
    run, result = stepped("micro_batches=1")
    assert np.array_equal(whole.logits, result.logits)
    assert len(whole.logits) == run.batches.labels.shape[1]


def test_clipping_comes_before_the_penalty() -> None:
    plain = ("optimizer={kind: sgd, momentum: 0.0, nesterov: false, weight_decay: 0.01}",)
    _, free = stepped(*plain)
    norm = np.sqrt(sum(np.square(gradient).sum() for gradient in free.gradients.values()))
    run, result = stepped(*plain, f"gradient_clipping={norm / 4}")
    for name, gradient in free.gradients.items():
        np.testing.assert_allclose(result.gradients[name], gradient / 4, rtol=1e-12)
        decay = 0.01 if run.graph.tensors[name].spec.decays else 0.0
        moved = run.state[name] - 0.1 * (gradient / 4 + decay * run.state[name])
        np.testing.assert_allclose(result.state[name], moved, rtol=1e-12)


def test_the_penalty_of_the_head_alone_leaves_all_else() -> None:
    _, free = stepped("optimizer={kind: sgd, weight_decay: 0.0}")
    _, result = stepped("optimizer={kind: sgd, weight_decay: 0.5, decayed_weights: head}")
    differing = {
        name for name in free.state if not np.array_equal(free.state[name], result.state[name])
    }
    weight = "head.classifier.weight"
    assert differing == {weight, f"optimizer.momentum.{weight}"}


def test_averages_follow_the_weights_after_the_update() -> None:
    run, result = stepped("weight_average=0.75")
    trained = {name for name, tensor in run.graph.tensors.items() if tensor.trainable}
    averages = {name for name in result.state if name.startswith("average.")}
    assert averages == {f"average.{name}" for name in trained}
    for name in trained:
        before, after = run.state[f"average.{name}"], result.state[name]
        np.testing.assert_allclose(
            result.state[f"average.{name}"], 0.75 * before + 0.25 * after, rtol=1e-14
        )


def test_averages_start_from_the_weights() -> None:
    run, _ = stepped("weight_average=0.75")
    bare = {name: a for name, a in run.state.items() if not name.startswith("average.")}
    images, labels = run.batches.images[0], run.batches.labels[0]
    recipe = run.loaded.spec.train
    result = training_step(run.graph, recipe, bare, images, labels, learning_rate=0.1, step=0)
    name = "head.classifier.weight"
    expected = 0.75 * bare[name] + 0.25 * result.state[name]
    np.testing.assert_allclose(result.state[f"average.{name}"], expected, rtol=1e-14)


def test_a_recipe_that_mixes_is_given_mixed_labels() -> None:
    run, result = stepped("augmentation.mixup=0.2")
    labels = run.batches.labels
    assert labels.shape == (4, 8, run.loaded.spec.classes)
    np.testing.assert_allclose(labels.sum(-1), 1.0, rtol=1e-14)
    assert np.isfinite(result.loss)
