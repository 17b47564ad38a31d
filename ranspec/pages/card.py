"""A card: one network on one page."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ranspec.analysis.count import count
from ranspec.analysis.ledger import entry
from ranspec.codegen.backend import CodeBackend, UnsupportedError, installed_backends
from ranspec.codegen.render import refuse_reserved_names
from ranspec.compile import compile_spec
from ranspec.ir.graph import Graph
from ranspec.pages.document import document
from ranspec.pages.highlight import highlighted
from ranspec.pages.listing import Listing, list_code
from ranspec.pages.parity import parity
from ranspec.pages.tree import Part, Pool
from ranspec.spec import LoadedSpec, SpecError, packaged_specs
from ranspec.spec.writer import write_spec

if TYPE_CHECKING:
    from ranspec.pages.studies import Trained


@dataclass(frozen=True)
class Error:
    """A test error in percent as its source prints it, beside the mean of runs here."""

    title: str
    printed: float
    ours: float | None
    runs: int


def card(
    loaded: LoadedSpec,
    *,
    name: str | None = None,
    results: Sequence[Trained] = (),
    in_site: bool = False,
) -> str:
    """Return a spec's card as an HTML page.

    `name` is what it is called there, by default as in `ranspec list`. `in_site` adds links to the
    pages that a site has beside it. A backend that cannot write the network is said to.
    """
    graph = compile_spec(loaded)
    name = name or loaded.source.name
    counted = count(graph)
    found = entry(name, loaded)
    listings, refusals = _listings(loaded, graph)
    pool = Pool()
    root = pool.add_network(graph)
    source = shlex.join([_findable(loaded), *_settings(loaded)])
    return document(
        "card",
        {
            "name": name,
            "root": root,
            "parts": [part_data(part) for part in pool.parts],
            "frameworks": [listing.title for listing in listings],
            "code": [_code_data(listing) for listing in listings],
        },
        name=name,
        command=source,
        spec=loaded.spec,
        overrides=loaded.source.overrides,
        digest=loaded.digest,
        counted=counted,
        stages=counted.rows("stage"),
        entry=found,
        errors=list(_errors(loaded, results)),
        listings=listings,
        refusals=refusals,
        codes=[highlighted(listing.code, "python") for listing in listings],
        parity=parity(loaded),
        results=results,
        yaml=highlighted(write_spec(loaded), "yaml"),
        commands=[
            f"ranspec build {source} --all-backends",
            *(f"ranspec train {source} --backend {item.backend}" for item in listings[:1]),
            f"ranspec count {source} --by block",
            f"ranspec verify {source}",
        ],
        in_site=in_site,
    )


def part_data(part: Part) -> list[Any]:
    """Return a part as compact data for the page's script."""
    cost = part.cost
    return [
        part.kind,
        part.title,
        part.description,
        part.output,
        [cost.parameters, cost.statistics, cost.macs, cost.flops],
        [[child.name, child.part, *([1] if child.again else [])] for child in part.children],
        part.arrays,
    ]


def _listings(loaded: LoadedSpec, graph: Graph) -> tuple[list[Listing], list[str]]:
    """Return the code in each framework that can say it, and why the others cannot."""
    backends = [backend for backend in installed_backends() if isinstance(backend, CodeBackend)]
    listings, refusals = [], []
    for backend in sorted(backends, key=lambda backend: backend.name, reverse=True):
        try:
            refuse_reserved_names(loaded, graph, [backend])
            listings.append(list_code(loaded, graph, backend))
        except SpecError as error:
            refusals += [f"{backend.title}: {problem.message}" for problem in error.problems]
        except UnsupportedError as error:
            refusals.append(str(error))
    return listings, refusals


def _code_data(listing: Listing) -> Mapping[str, Any]:
    return {
        name: [*found.lines, {place: spans for place, spans in found.places.items() if spans}]
        for name, found in listing.classes.items()
    }


def _errors(loaded: LoadedSpec, results: Sequence[Trained]) -> Iterator[Error]:
    """Yield what the source prints of accuracy, beside the means of whole runs."""
    paper = loaded.spec.paper
    whole = [item for item in results if item.whole]
    if paper and paper.test_error is not None:
        yield _error("Test error", paper.test_error, [item.error for item in whole])
    if paper and paper.top5_error is not None:
        yield _error("Top-5 error", paper.top5_error, [item.top5_error for item in whole])


def _error(title: str, printed: float, ours: Sequence[float | None]) -> Error:
    known = [error for error in ours if error is not None]
    return Error(title, printed, sum(known) / len(known) if known else None, len(known))


def _findable(loaded: LoadedSpec) -> str:
    """Return what commands find a spec by: its name if it is shipped, or its file's."""
    name, file = loaded.source.name, loaded.files[0].name
    if (packaged_specs() / f"{name}.yaml").is_file():
        return name
    return file if file.endswith((".yaml", ".yml")) else f"{loaded.spec.name}.yaml"


def _settings(loaded: LoadedSpec) -> Iterator[str]:
    for override in loaded.source.overrides:
        yield from ("--set", override)
