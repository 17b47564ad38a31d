"""The reference differentiates whole networks rightly, and changes nothing it is given."""

from __future__ import annotations

import numpy as np
import pytest

from ranspec.analysis.interpreter import backward, forward, linearize, training_step
from ranspec.analysis.reference import cross_entropy
from ranspec.verify.experiment import Experiment, experiment
from tests.verify.networks import NETWORKS


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
