"""`ranspec site`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ranspec.cli.card import STUDIES, StudiesOption
from ranspec.cli.options import ForceOption, OptionalSpecsArgument, folder_option
from ranspec.cli.output import message, progress
from ranspec.errors import printable

if TYPE_CHECKING:
    from ranspec.spec import LoadedSpec


def site(
    specs: OptionalSpecsArgument,
    output: Annotated[
        Path | None,
        folder_option("Where to write it, by default ./site."),
    ] = None,
    studies: StudiesOption = None,
    force: ForceOption = False,
) -> None:
    """Show all networks: their cards, an index with a search, a comparison of any two.

    The pages lie in one folder and ask nothing of any other place: open its index.html. Of a site
    that was written before, what changed is written again, and cards of other specs are removed.
    """
    import json

    from ranspec import __version__
    from ranspec.codegen.build import write_builds
    from ranspec.codegen.folder import kind
    from ranspec.codegen.render import MANIFEST, file_hash
    from ranspec.pages.site import site as pages
    from ranspec.pages.studies import jobs_by_spec

    target = output or Path("site")
    if kind(target) not in (None, "folder"):
        raise typer.BadParameter(f"{target} is a {kind(target)}", param_hint="--output")
    loaded = _load(specs)
    with progress("cards", len(loaded)) as advance:
        files = pages(loaded, jobs=jobs_by_spec(studies or STUDIES), progress=lambda _: advance(1))
    hashes = {name: file_hash(content) for name, content in sorted(files.items())}
    files[MANIFEST] = json.dumps({"ranspec": __version__, "files": hashes}, indent=2) + "\n"
    write_builds({target: files}, force=force)
    message(f"wrote {target / 'index.html'} and {len(loaded)} cards")


def _load(names: list[str]) -> dict[str, LoadedSpec]:
    """Load the named specs, or all that are known and have no mistakes."""
    from ranspec.compile import compile_spec
    from ranspec.spec import SpecError, available_specs, load_spec

    found: dict[str, LoadedSpec] = {}
    for name in names or available_specs():
        try:
            loaded = load_spec(name)
            compile_spec(loaded)
        except SpecError:
            if names:
                raise
            message(f"{printable(name)}: has mistakes; see `ranspec check {printable(name)}`")
            continue
        shown = loaded.source.name
        found[name if shown in found else shown] = loaded
    return found
