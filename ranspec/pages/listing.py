"""The code of a network in a framework, and where in it each part of the network stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ranspec.codegen.backend import CodeBackend
from ranspec.codegen.classes import ClassText
from ranspec.codegen.names import class_names
from ranspec.codegen.program import write_model
from ranspec.ir.decomposition import decomposed
from ranspec.ir.graph import Graph
from ranspec.ir.trace import BlockNode, Trace
from ranspec.spec import LoadedSpec

Span = tuple[int, int]
"""The first and the last of some lines, the first of a file being 1."""


@dataclass(frozen=True)
class ClassLines:
    """Where a class stands, and where in it each of its parts does."""

    lines: Span
    places: Mapping[str, tuple[Span, ...]]
    """By the name of a node, or `name.0` and so on of a sequence: where it is made and called."""


@dataclass(frozen=True)
class Listing:
    """The code of a network in a framework."""

    backend: str
    title: str
    code: str
    classes: Mapping[str, ClassLines]
    """By the class's name in the graph, which is that of the code unless it was taken there."""


def list_code(loaded: LoadedSpec, graph: Graph, backend: CodeBackend) -> Listing:
    """Write a backend's `model.py`, and find every class and all its parts there."""
    code, written_classes = write_model(backend, graph, {"spec": loaded.spec, "backend": backend})
    texts = {text.name: text for text in written_classes}
    found = {node.name: node for node in ast.parse(code).body if isinstance(node, ast.ClassDef)}
    written = {
        definition.class_name: definition.trace
        for definition in decomposed(graph, backend.operations).definitions
    }
    classes = {}
    for definition, name in class_names(graph, backend).items():
        own = definition.class_name
        if name in found:
            places = _places(definition.trace, written[own], found[name], texts[name])
            classes[own] = ClassLines(_span(found[name]), places)
    return Listing(backend.name, backend.title, code, classes)


def _places(
    own: Trace, written: Trace, node: ast.ClassDef, text: ClassText
) -> dict[str, tuple[Span, ...]]:
    methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
    made = dict(_assigned(methods[0]))
    lines = {
        name: _span(statement)
        for names, statement in zip(text.computed, methods[-1].body, strict=True)
        for name in names
    }
    places: dict[str, tuple[Span, ...]] = {}
    for member in own.nodes:
        spans = [_span(made[member.layer])] if member.layer in made else []
        spans += [lines[name] for name in _parts_of(member.name, own, written)]
        places[member.name] = tuple(dict.fromkeys(spans))
        if isinstance(member, BlockNode) and len(member.instances) > 1:
            elements = tuple(_elements(made[member.layer].value))
            if len(elements) == len(member.instances):
                places |= {f"{member.name}.{i}": (span,) for i, span in enumerate(elements)}
    return places


def _assigned(method: ast.FunctionDef) -> Iterator[tuple[str, ast.Assign]]:
    """Yield the attributes that a constructor gives its instance."""
    for statement in method.body:
        match statement:
            case ast.Assign(targets=[ast.Attribute(value=ast.Name(id="self"), attr=name)]):
                yield name, statement


def _parts_of(name: str, own: Trace, written: Trace) -> list[str]:
    """Return what a backend writes a node as: itself, or others where it lacks the operation.

    Those lie between the nodes before and after it that are written as they are.
    """
    order = [node.name for node in written.nodes]
    if name in order:
        return [name]
    names = [node.name for node in own.nodes]
    kept = [other for other in names if other in order]
    position = names.index(name)
    before = [other for other in names[:position] if other in kept]
    after = [other for other in names[position:] if other in kept]
    start = order.index(before[-1]) + 1 if before else 0
    return order[start : order.index(after[0]) if after else None]


def _elements(value: ast.expr) -> Iterator[Span]:
    """Yield the lines of each element of a sequence, one for each time that it is repeated."""
    match value:
        case ast.Call(args=[ast.List() | ast.ListComp() as inner]):
            yield from _elements(inner)
        case ast.Call(args=items) | ast.List(elts=items):
            for item in items:
                match item:
                    case ast.Starred(value=ast.GeneratorExp() as repeated):
                        yield from _repeated(repeated)
                    case _:
                        yield _span(item)
        case ast.ListComp():
            yield from _repeated(value)


def _repeated(loop: ast.GeneratorExp | ast.ListComp) -> Iterator[Span]:
    match loop.generators:
        case [ast.comprehension(iter=ast.Call(args=[ast.Constant(value=int(times))]))]:
            for _ in range(times):
                yield _span(loop)


def _span(node: ast.expr | ast.stmt) -> Span:
    return node.lineno, node.end_lineno or node.lineno
