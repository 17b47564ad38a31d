"""`ranspec check`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ranspec.cli.options import SetOption, SpecsArgument
from ranspec.cli.output import integer, message, styled, write, write_json

if TYPE_CHECKING:
    from ranspec.spec import Problem


def check(
    specs: SpecsArgument,
    overrides: SetOption,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 if there is any warning.")
    ] = False,
    output_format: Annotated[
        Literal["text", "json"], typer.Option("--format", help="How to write the result.")
    ] = "text",
) -> None:
    """Check that specs are valid and can be built.

    Tells every mistake with its file, line and column, and warns of what is legal but surely not
    meant. Exits 2 if there is any mistake.
    """
    checked = []
    for name in specs:
        checked.append(_check(name, overrides))
        if output_format == "text":
            _write(checked[-1])
    if output_format == "json":
        valid = all(result.valid for result in checked)
        write_json({"valid": valid, "specs": [result.as_dict() for result in checked]})
    if not all(result.valid for result in checked):
        raise typer.Exit(2)
    if strict and any(result.warnings for result in checked):
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Checked:
    spec: str
    parameters: int | None
    problems: Sequence[Problem]
    warnings: Sequence[Problem]

    @property
    def valid(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        return {
            "spec": self.spec,
            "valid": self.valid,
            "parameters": self.parameters,
            "problems": [problem.as_dict() for problem in self.problems],
            "warnings": [problem.as_dict() for problem in self.warnings],
        }


def _check(name: str, overrides: Sequence[str]) -> _Checked:
    from ranspec.analysis.advice import advice
    from ranspec.analysis.count import count
    from ranspec.compile import compile_spec
    from ranspec.spec import SpecError, load_spec

    try:
        loaded = load_spec(name, overrides)
        counted = count(compile_spec(loaded))
    except SpecError as error:
        return _Checked(name, None, error.problems, ())
    return _Checked(name, counted.trainable_parameters, (), advice(loaded, counted))


def _write(checked: _Checked) -> None:
    color = styled(sys.stderr)
    for problem in checked.problems:
        message(problem.report(color=color))
    for warning in checked.warnings:
        message(warning.report(label="warning: ", color=color))
    if checked.parameters is not None:
        write(f"ok  {checked.spec}  {integer(checked.parameters)} trainable parameters")
