"""`ranspec weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranspec.cli.files import refuse_existing, require_suffix
from ranspec.cli.options import OverwriteOption, SetOption, SpecArgument, file_option
from ranspec.cli.output import write


def weights(
    spec: SpecArgument,
    overrides: SetOption,
    output: Annotated[
        Path | None,
        file_option("The file to write, by default weights.safetensors."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, max=2**31 - 1, help="By default the seed of the spec."),
    ] = None,
    force: OverwriteOption = False,
) -> None:
    """Write the initial weights of a network.

    The same weights on every machine; the code of every backend loads the file.
    """
    from ranspec.analysis.interpreter import initial_state
    from ranspec.compile import compile_spec
    from ranspec.runtime.checkpoint import Manifest, save
    from ranspec.spec import load_spec

    path = output or Path("weights.safetensors")
    require_suffix(path, ".safetensors")
    refuse_existing(path, force=force)
    loaded = load_spec(spec, overrides)
    graph = compile_spec(loaded)
    training = loaded.spec.train
    chosen = training.seed if seed is None else seed
    arrays = initial_state(graph, training, chosen)
    save(
        path,
        {name: array.astype("float32") for name, array in arrays.items()},
        Manifest(graph.name, step=0, seed=chosen, batch_size=training.batch_size),
    )
    write(str(path))
