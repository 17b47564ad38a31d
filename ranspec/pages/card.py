"""A card: one network on one page."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ranspec.analysis.count import count
from ranspec.analysis.ledger import entry
from ranspec.codegen.backend import CodeBackend, installed_backends
from ranspec.codegen.render import refuse_reserved_names
from ranspec.compile import compile_spec
from ranspec.ir.graph import Graph
from ranspec.pages.document import document
from ranspec.pages.highlight import highlighted
from ranspec.pages.listing import Listing, list_code
from ranspec.pages.parity import parity
from ranspec.pages.tree import Part, Pool
from ranspec.spec import LoadedSpec
from ranspec.spec.writer import write_spec

if TYPE_CHECKING:
    from ranspec.pages.studies import Trained


def card(
    loaded: LoadedSpec,
    *,
    name: str | None = None,
    results: Sequence[Trained] = (),
    in_site: bool = False,
) -> str:
    """Return a spec's card as an HTML page.

    `name` is what it is called there, by default as in `ranspec list`. `in_site` adds links to the
    pages that a site has beside it. Raises `SpecError` or `UnsupportedError` where a backend
    cannot write the network.
    """
    graph = compile_spec(loaded)
    name = name or loaded.source.name
    counted = count(graph)
    found = entry(name, loaded)
    listings = list(_listings(loaded, graph))
    pool = Pool()
    root = pool.add_network(graph)
    source = shlex.join([loaded.source.name, *_settings(loaded)])
    return document(
        "card",
        {
            "name": name,
            "root": root,
            "parts": [part_data(part) for part in pool.parts],
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
        codes=[highlighted(listing.code, "python") for listing in listings],
        parity=parity(loaded),
        results=results,
        yaml=highlighted(write_spec(loaded), "yaml"),
        commands=[
            f"ranspec build {source} --all-backends",
            f"ranspec train {source} --backend {listings[0].backend}" if listings else "",
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


def _listings(loaded: LoadedSpec, graph: Graph) -> Iterator[Listing]:
    backends = [backend for backend in installed_backends() if isinstance(backend, CodeBackend)]
    refuse_reserved_names(loaded, graph, backends)
    for backend in sorted(backends, key=lambda backend: backend.name, reverse=True):
        yield list_code(loaded, graph, backend)


def _code_data(listing: Listing) -> Mapping[str, Any]:
    return {
        name: [*found.lines, {place: spans for place, spans in found.places.items() if spans}]
        for name, found in listing.classes.items()
    }


def _errors(
    loaded: LoadedSpec, results: Sequence[Trained]
) -> Iterator[tuple[str, float, float | None]]:
    """Yield what the source prints of accuracy, beside the mean of whole runs."""
    paper = loaded.spec.paper
    if paper is None:
        return
    if paper.test_error is not None:
        ours = [item.error for item in results if item.error is not None and item.whole]
        yield "Test error", paper.test_error, sum(ours) / len(ours) if ours else None
    if paper.top5_error is not None:
        yield "Top-5 error", paper.top5_error, None


def _settings(loaded: LoadedSpec) -> Iterator[str]:
    for override in loaded.source.overrides:
        yield from ("--set", override)
