"""`ranspec check`."""

from __future__ import annotations

import sys

import typer

from ranspec.cli.options import SetOption, SpecsArgument
from ranspec.cli.output import integer, message, styled, write


def check(specs: SpecsArgument, overrides: SetOption) -> None:
    """Check that specs are valid and can be built.

    Tells every mistake with its file, line and column. Exits 2 if there is any.
    """
    from ranspec.analysis.count import count
    from ranspec.codegen.backend import installed_backends
    from ranspec.codegen.render import refuse_reserved_names
    from ranspec.compile import compile_spec
    from ranspec.spec import SpecError, load_spec

    backends = installed_backends()
    valid = True
    for name in specs:
        try:
            loaded = load_spec(name, overrides)
            graph = compile_spec(loaded)
            refuse_reserved_names(loaded, graph, backends)
        except SpecError as error:
            message(error.report(color=styled(sys.stderr)))
            valid = False
        else:
            parameters = integer(count(graph).trainable_parameters)
            write(f"ok  {name}  {parameters} trainable parameters")
    if not valid:
        raise typer.Exit(2)
