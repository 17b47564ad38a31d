"""A site: a card of each network, an index with a search, and a comparison of any two."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ranspec.analysis.count import Count, count
from ranspec.compile import compile_spec
from ranspec.pages.card import card, part_data
from ranspec.pages.document import document
from ranspec.pages.parity import parity
from ranspec.pages.studies import Jobs, trained
from ranspec.pages.tree import Pool
from ranspec.spec import LoadedSpec
from ranspec.spec.writer import flow

INDEX, COMPARISON = "index.html", "compare.html"


@dataclass(frozen=True)
class Network:
    """A network of a site."""

    name: str
    file: str
    """Its card."""
    loaded: LoadedSpec
    counted: Count

    @property
    def folder(self) -> str:
        """What its name begins with, to the last slash; empty where there is none."""
        return self.name[: self.name.rfind("/") + 1]

    @property
    def short(self) -> str:
        """The rest of its name."""
        return self.name.removeprefix(self.folder)

    @property
    def error(self) -> float | None:
        """The test error that its source prints, in percent."""
        return self.loaded.spec.paper.test_error if self.loaded.spec.paper else None

    @property
    def verified(self) -> bool:
        known = parity(self.loaded)
        return known is not None and set(known.outcomes.values()) == {"passed"}


def site(
    specs: Mapping[str, LoadedSpec],
    *,
    jobs: Jobs | None = None,
    progress: Callable[[str], object] = lambda name: None,
) -> dict[str, str]:
    """Return the pages of some specs, given by name; `progress` is told of each card as it is made.

    `jobs` are those of studies whose results are shown. Raises what `card` does.
    """
    networks = sorted(_networks(specs), key=lambda network: _natural(network.name))
    pages = {}
    for network in networks:
        results = trained(network.loaded, jobs or {})
        pages[network.file] = card(network.loaded, name=network.name, results=results, in_site=True)
        progress(network.name)
    pages[INDEX] = document("index", networks=networks)
    pages[COMPARISON] = document("compare", comparison_data(networks), networks=networks)
    return pages


def _networks(specs: Mapping[str, LoadedSpec]) -> Iterator[Network]:
    taken = {INDEX, COMPARISON}
    for name, loaded in specs.items():
        stem = re.sub(r"[^A-Za-z0-9_]+", "_", name.replace("/", "__")).strip("_") or "network"
        file, number = f"{stem}.html", 1
        while file.lower() in taken:
            number += 1
            file = f"{stem}_{number}.html"
        taken.add(file.lower())
        yield Network(name, file, loaded, count(compile_spec(loaded)))


def comparison_data(networks: list[Network]) -> dict[str, Any]:
    """Return what two networks are compared by: their figures, their specs, their parts.

    Equal parts and equal values of specs are there once, for all networks.
    """
    pool = Pool()
    roots = [pool.add_network(network.counted.graph) for network in networks]
    written = [dict(_values(network.loaded.resolved())) for network in networks]
    keys = list(dict.fromkeys(key for values in written for key in values))
    texts = list(dict.fromkeys(text for values in written for text in values.values()))
    number = {text: index for index, text in enumerate(texts)}
    return {
        "keys": keys,
        "values": texts,
        "parts": [part_data(part) for part in pool.parts],
        "networks": [
            {
                "name": network.name,
                "file": network.file,
                "root": root,
                "depth": network.counted.trunk_depth,
                "input": network.counted.graph.input,
                "layers": len(network.counted.graph.layers),
                "activations": network.counted.activation_bytes,
                "error": network.error,
                "spec": [number[values[key]] if key in values else -1 for key in keys],
            }
            for network, root, values in zip(networks, roots, written, strict=True)
        ],
    }


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Return what names are sorted by: those without a folder first, 56 before 128."""
    pieces = re.split(r"(\d+)", name)
    return [
        ("/" in name, 0, ""),
        *((False, int(p), "") if p.isdecimal() else (True, 0, p) for p in pieces),
    ]


def _values(mapping: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in mapping.items():
        inner = f"{path}.{key}" if path else key
        if isinstance(value, dict) and value:
            yield from _values(value, inner)
        else:
            yield inner, flow(value)
