"""From the graph's definitions to the text of classes, for any backend."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from ranspec.codegen.backend import CodeBackend, Function, Member
from ranspec.codegen.code import (
    LINE_LENGTH,
    Attribute,
    Call,
    Code,
    Name,
    Number,
    Repeated,
    Variable,
    as_attributes,
    attributes,
    definition,
    expressions,
    lay_out,
    named,
    rewrite,
)
from ranspec.codegen.names import bound_names, check_names, class_names
from ranspec.codegen.statements import arrange, computed_nodes, name_variables
from ranspec.ir.decomposition import decomposed
from ranspec.ir.definitions import Definition
from ranspec.ir.dimension import Named, arguments_of
from ranspec.ir.graph import Graph
from ranspec.ir.operations.elementwise import sizes
from ranspec.ir.trace import Instance, OperationNode

INDENT = 8


@dataclass(frozen=True)
class ClassText:
    """The parts of one generated class, ready to be laid out by a template."""

    name: str
    docstring: str
    signature: str
    """Constructor arguments after `self`: `, in_channels: int, classes: int = 10`."""
    assignments: tuple[str, ...]
    """Lines of the constructor's body."""
    inputs: tuple[str, ...]
    statements: tuple[str, ...]
    """Lines of the forward method's body."""
    computed: tuple[tuple[str, ...], ...]
    """For each of its statements, the names of the nodes that it computes."""
    is_network: bool

    def constructor(self, keywords: str = "") -> str:
        """Write the head of the constructor, with a framework's own arguments at the end."""
        arguments = f"self{self.signature}{keywords}"
        opening, closing = "    def __init__(", ") -> None:"
        if len(f"{opening}{arguments}{closing}") <= LINE_LENGTH:
            return f"{opening}{arguments}{closing}"
        if INDENT + len(arguments) > LINE_LENGTH:
            arguments = arguments.replace(", ", f",\n{' ' * INDENT}") + ","
        return f"{opening}\n{' ' * INDENT}{arguments}\n    {closing}"


def write_classes(graph: Graph, backend: CodeBackend) -> list[ClassText]:
    """Write every class of a network, children first, the network itself last."""
    graph = decomposed(graph, backend.operations)
    names = class_names(graph, backend)
    constructors: dict[Definition, tuple[str, ...]] = {}
    classes = []
    for defined in graph.definitions:
        writer = _ClassWriter(graph, backend, defined, names, constructors)
        classes.append(writer.write())
        constructors[defined] = writer.arguments
    return classes


def docstring(text: str, indent: int) -> str:
    """Write a docstring that no text can end early."""
    text = " ".join(text.split())
    quoted = f'{_escaped(text[:-1])}\\"' if text.endswith('"') else _escaped(text)
    one_line = f'"""{_apart(quoted)}"""'
    if indent + _width(one_line) <= LINE_LENGTH:
        return one_line
    space = " " * indent
    first, *others = _wrapped(text, LINE_LENGTH - indent - len('""""""'))
    return '"""' + f"\n{space}".join([_apart(first), *others]) + f'\n{space}"""'


def _wrapped(text: str, width: int) -> list[str]:
    """Wrap a text to lines that are no wider than `width` once they are escaped."""
    for narrower in range(width, 0, -1):
        lines = [_escaped(line) for line in textwrap.wrap(text, narrower)]
        if all(_width(line) <= width for line in lines):
            break
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', r"\"\"\"")


def _apart(text: str) -> str:
    """Keep an opening quote apart from the docstring's own, as formatters do."""
    return f" {text}" if text.startswith('"') else text


def _width(text: str) -> int:
    """Return the columns a text takes; East Asian characters are two wide."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


class _ClassWriter:
    def __init__(
        self,
        graph: Graph,
        backend: CodeBackend,
        defined: Definition,
        names: Mapping[Definition, str],
        constructors: Mapping[Definition, tuple[str, ...]],
    ) -> None:
        self._graph = graph
        self._backend = backend
        self._definition = defined
        self._names = names
        self._constructors = constructors
        self._members = dict(self._construct_members())
        self._results = dict(self._expressions())
        used = {
            name
            for piece in (*self._members.values(), *self._results.values())
            for expression in expressions(piece)
            for name in arguments_of(expression)
        }
        self.arguments = tuple(name for name in defined.arguments if name in used)

    def write(self) -> ClassText:
        trace = self._definition.trace
        is_network = trace is self._graph.root
        numbers = (*self.arguments, *(number.name for number in self._named_numbers()))
        check_names(
            self._definition.class_name,
            self._backend,
            numbers=numbers,
            inputs=trace.inputs,
        )
        results = {value: rewrite(piece, _as_attribute) for value, piece in self._results.items()}
        statements = arrange(trace, results)
        names = name_variables(trace, statements, taken=bound_names(self._backend))
        lines: list[str] = []
        for statement in statements[:-1]:
            prefix = f"{names[statement.value]} = "
            lines += lay_out(prefix, statement.expression, names.__getitem__, INDENT)
            if is_network:
                lines[-1] += f"  # {sizes(trace.sizes[statement.value])}"
        lines += lay_out("return ", statements[-1].expression, names.__getitem__, INDENT)
        defaults = {
            name: f" = {value}" if is_network else "" for name, value in trace.arguments.items()
        }
        return ClassText(
            name=self._names[self._definition],
            docstring=docstring(trace.description, INDENT - 4),
            signature="".join(f", {name}: int{defaults[name]}" for name in self.arguments),
            assignments=tuple(self._assignments()),
            inputs=trace.inputs,
            statements=tuple(lines),
            computed=computed_nodes(trace, statements),
            is_network=is_network,
        )

    def _construct_members(self) -> Iterator[tuple[str, Code]]:
        for node in self._definition.trace.nodes:
            if isinstance(node, OperationNode):
                writer = self._writer(node)
                if isinstance(writer, Member):
                    yield node.layer, writer.construct(node.operation)
            elif len(node.instances) == 1:
                yield node.layer, self._construct_block(node.instances[0])
            else:
                blocks = [self._construct_block(instance) for instance in node.instances]
                yield node.layer, self._backend.sequence(_compress(blocks))

    def _writer(self, node: OperationNode) -> Member | Function:
        where = f"{self._definition.class_name}.{node.name}"
        writer: Member | Function = self._backend.writer(node.operation, where)
        return writer

    def _construct_block(self, instance: Instance) -> Code:
        child = self._graph.definition_of[instance.trace]
        names = self._constructors[child]
        positional = [name for name in names if name not in instance.trace.settings][:2]
        keywords = [name for name in names if name not in positional]

        def number(name: str) -> Code:
            return Number(instance.arguments[name].expression)

        construction = Call(
            Name(self._names[child]),
            tuple(map(number, positional)),
            tuple((name, number(name)) for name in keywords),
        )
        return self._backend.construct(construction)

    def _expressions(self) -> Iterator[tuple[int, Code]]:
        for node in self._definition.trace.nodes:
            attribute = Attribute(Name("self"), node.layer)
            operands = [Variable(index) for index in node.inputs]
            if not isinstance(node, OperationNode):
                yield node.output, Call(attribute, tuple(operands))
                continue
            writer = self._writer(node)
            if not isinstance(writer, Member):
                yield node.output, writer.write(node.operation, *operands)
            elif writer.apply is not None:
                yield node.output, writer.apply(node.operation, attribute, *operands)
            else:
                yield node.output, Call(attribute, tuple(operands))

    def _assignments(self) -> Iterator[str]:
        space = " " * INDENT
        for number in self._named_numbers():
            yield space + definition(number)
        used = [part for result in self._results.values() for part in expressions(result)]
        for name in dict.fromkeys(name for part in used for name in attributes(part)):
            yield f"{space}self.{name} = {name}"
        for name, member in self._members.items():
            yield from lay_out(f"self.{name} = ", member, str, INDENT)

    def _named_numbers(self) -> dict[Named, None]:
        """Return the named numbers that the class needs, each after those it follows from."""
        pieces = (*self._members.values(), *self._results.values())
        parts = (part for piece in pieces for part in expressions(piece))
        return dict.fromkeys(number for part in parts for number in named(part))


def _as_attribute(piece: Code) -> Code | None:
    """Write a number in a method, where the constructor's arguments are attributes."""
    return Number(as_attributes(piece.expression)) if isinstance(piece, Number) else None


def _compress(blocks: Sequence[Code]) -> list[Code]:
    """Write runs of three or more equal blocks as one repetition."""
    result: list[Code] = []
    for block, run in groupby(blocks):
        count = len(list(run))
        result += [Repeated(block, count)] if count > 2 else [block] * count
    return result
