"""Nested parts hold the network: every operation once, with the costs that are counted."""

from __future__ import annotations

from functools import cache

import pytest

from ranspec.analysis.count import Cost, count
from ranspec.codegen.backend import load_backend
from ranspec.codegen.render import render_files
from ranspec.compile import compile_spec
from ranspec.ir.graph import Graph
from ranspec.pages.card import card
from ranspec.pages.listing import Listing, list_code
from ranspec.pages.tree import Pool, contents, operations
from tests.rendering import WRITERS, loaded

SPECS = (
    "attention56_cifar",
    "attention452_cifar",
    "attention56_nal_cifar",
    "attentioninception56_imagenet",
    "edirisooriya2017/attn_simple",
    "baselines/resnet1001_cifar",
)


@cache
def graph(spec: str) -> Graph:
    return compile_spec(loaded(spec))


@cache
def listing(spec: str, backend: str) -> Listing:
    return list_code(loaded(spec), graph(spec), WRITERS[backend])


@pytest.mark.parametrize("spec", SPECS)
def test_every_operation_is_in_the_tree_once_and_in_order(spec: str) -> None:
    pool = Pool()
    root = pool.add_network(graph(spec))
    found = list(operations(pool.parts, root))
    layers = graph(spec).layers
    assert [path for path, _, _ in found] == [layer.path for layer in layers]
    assert [part.output for _, part, _ in found] == [layer.output for layer in layers]
    assert [owned for _, _, owned in found] == [layer.owner == layer.path for layer in layers]


@pytest.mark.parametrize("spec", SPECS)
def test_costs_of_operations_make_those_of_the_network(spec: str) -> None:
    pool = Pool()
    root = pool.add_network(graph(spec))
    costs = (
        part.cost if owned else part.cost.again() for _, part, owned in operations(pool.parts, root)
    )
    assert sum(costs, Cost()) == pool.parts[root].cost == count(graph(spec)).cost


def test_parts_that_are_used_often_are_held_once_even_by_several_networks() -> None:
    pool = Pool()
    pool.add_network(graph("attention56_cifar"))
    first = len(pool.parts)
    pool.add_network(graph("attention56_cifar"))
    assert len(pool.parts) == first
    pool.add_network(graph("attention452_cifar"))
    assert len(pool.parts) < 2 * first < len(graph("attention56_cifar").layers)


def test_children_have_lower_numbers_than_their_parents() -> None:
    pool = Pool()
    pool.add_network(graph("attentioninception56_imagenet"))
    for number, part in enumerate(pool.parts):
        assert all(child.part < number for child in part.children)


def test_a_sequence_says_what_it_holds() -> None:
    assert contents(["Projection", "Unit", "Unit"]) == "Projection, 2 x Unit"


@pytest.mark.parametrize("backend", WRITERS)
@pytest.mark.parametrize("spec", SPECS)
def test_every_class_and_every_part_of_it_has_its_lines(spec: str, backend: str) -> None:
    found = listing(spec, backend)
    lines = found.code.splitlines()
    for definition in graph(spec).definitions:
        own = found.classes[definition.class_name]
        first, last = own.lines
        assert lines[first - 1].startswith(f"class {definition.class_name}(")
        assert last == len(lines) or lines[last] == ""
        for node in definition.trace.nodes:
            assert own.places[node.name], (definition.class_name, node.name)
        for spans in own.places.values():
            assert all(first < start <= end <= last for start, end in spans)


@pytest.mark.parametrize("backend", WRITERS)
def test_lines_of_a_part_name_it_or_compute_it(backend: str) -> None:
    found = listing("attention452_cifar", backend)
    lines = found.code.splitlines()

    def text(name: str, place: str) -> list[str]:
        return [" ".join(lines[a - 1 : b]) for a, b in found.classes[name].places[place]]

    made, called = text("PreactivationBottleneck", "conv2")
    assert made.strip().startswith("self.conv2 = ")
    assert "self.conv2(" in called
    (activation,) = text("PreactivationBottleneck", "relu2")
    assert activation == called
    (addition,) = text("PreactivationBottleneck", "add1")
    assert addition.strip() == "return x + y"
    (gate,) = text("AttentionModuleDepth3", "gate1")
    assert "(1 + mask) * trunk" in gate
    modules = [text("Attention452", f"stage1.{position}") for position in range(8)]
    assert "ProjectionBottleneck(" in modules[0][0]
    assert all("AttentionModuleDepth3(" in module[0] for module in modules[1:7])
    assert "PreactivationBottleneck(" in modules[7][0]


@pytest.mark.parametrize("backend", WRITERS)
def test_the_code_shown_is_the_code_built(backend: str) -> None:
    spec = "attention56_nal_cifar"
    built = render_files(loaded(spec), load_backend(backend))["model.py"]
    assert listing(spec, backend).code == built


def test_a_card_is_the_same_whenever_it_is_made() -> None:
    assert card(loaded("attention_digits")) == card(loaded("attention_digits"))
