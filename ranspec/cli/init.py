"""`ranspec init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranspec.cli.options import SetOption, SpecArgument
from ranspec.cli.output import write


def init(
    spec: SpecArgument,
    overrides: SetOption,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The safetensors file to write.")
    ] = Path("weights.safetensors"),
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, max=2**31 - 1, help="By default the seed of the spec."),
    ] = None,
) -> None:
    """Write the initial weights of a network.

    The same weights on every machine; the code of every backend loads the file.
    """
    from ranspec.analysis.interpreter import initial_state
    from ranspec.compile import compile_spec
    from ranspec.runtime.checkpoint import Manifest, save
    from ranspec.spec import load_spec

    loaded = load_spec(spec, overrides)
    graph = compile_spec(loaded)
    training = loaded.spec.train
    chosen = training.seed if seed is None else seed
    weights = initial_state(graph, training, chosen)
    save(
        output,
        {name: array.astype("float32") for name, array in weights.items()},
        Manifest(graph.name, step=0, seed=chosen, batch_size=training.batch_size),
    )
    write(str(output))
