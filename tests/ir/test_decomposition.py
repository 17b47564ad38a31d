"""What a backend has no entry for is written as the operations it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from ranspec.analysis.interpreter import forward
from ranspec.compile import compile_spec
from ranspec.ir import operations as ops
from ranspec.ir.builder import Builder, NetworkSettings, Tracer, Value, block
from ranspec.ir.decomposition import Parts, decomposed
from ranspec.ir.dimension import Dimension
from ranspec.ir.graph import Graph
from ranspec.ir.verifier import VerificationError
from ranspec.spec import load_spec
from ranspec.verify.experiment import random_state

WITHOUT_GATE = frozenset(ops.ALL) - {ops.Gate}


@pytest.fixture(scope="module")
def graph() -> Graph:
    return compile_spec(load_spec("attention_digits"))


def test_a_backend_with_every_operation_gets_the_graph_itself(graph: Graph) -> None:
    assert decomposed(graph, frozenset(ops.ALL)) is graph


def test_the_parts_compute_what_the_whole_does(graph: Graph) -> None:
    parts = decomposed(graph, WITHOUT_GATE)
    assert not any(isinstance(layer.operation, ops.Gate) for layer in parts.layers)
    assert parts.tensors.keys() == graph.tensors.keys()
    state = random_state(graph, 0)
    images = np.random.default_rng(0).standard_normal((2, 1, 8, 8))
    left, right = (forward(item, state, images, training=True).output for item in (graph, parts))
    np.testing.assert_array_equal(left, right)


def test_classes_stay_as_many_and_keep_their_names(graph: Graph) -> None:
    parts = decomposed(graph, WITHOUT_GATE)
    before, after = (
        [(item.class_name, item.arguments) for item in whole.definitions]
        for whole in (graph, parts)
    )
    assert before == after


@dataclass(frozen=True, eq=False)
class Biased(ops.Linear):
    """A linear layer, made of one and what the test says."""

    twice: bool = False

    def decompose(self, parts: Parts, *inputs: Value) -> Value:
        linear = ops.Linear(self.in_features, self.features, bias=self.bias)
        y = parts.add(linear, *inputs)
        return parts.add(linear, y) if self.twice else parts.add(ops.Scale(2.0), y)


def graph_of(operation: Any) -> Graph:
    @block
    def toy(b: Builder, x: Value) -> Value:
        return b.add_node(operation, b.scale(x, 3.0), name="layer")

    return Graph("toy", Tracer(NetworkSettings(1e-5, 0.1)).trace(toy(), [(4,)]))


def test_a_part_with_parameters_takes_the_name_of_the_whole() -> None:
    graph = graph_of(Biased(Dimension(4), Dimension(4), bias=True))
    parts = decomposed(graph, frozenset(ops.ALL))
    assert [layer.path for layer in parts.layers] == ["scale1", "layer", "scale2"]
    assert parts.tensors.keys() == graph.tensors.keys() == {"layer.weight", "layer.bias"}


def test_parts_own_the_parameters_of_the_whole_and_no_others() -> None:
    graph = graph_of(Biased(Dimension(4), Dimension(4), bias=False, twice=True))
    with pytest.raises(VerificationError, match=r"Toy\.layer: the parts of linear own"):
        decomposed(graph, frozenset(ops.ALL))
