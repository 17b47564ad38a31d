"""The ledger: what every source prints of its networks, beside what its spec gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ranspec.analysis.count import Count, count
from ranspec.analysis.figures import Figure, explained, relative_difference
from ranspec.compile import compile_spec
from ranspec.spec import LoadedSpec


@dataclass(frozen=True)
class Comparison:
    """A printed figure beside ours."""

    quantity: str
    ours: int
    printed: Figure
    explanation: str | None
    """The way to count or to round that gives the printed figure, if one does."""

    @property
    def difference(self) -> float:
        """(ours - printed) / printed."""
        return relative_difference(self.ours, self.printed.value)

    @property
    def agrees(self) -> bool:
        return self.printed.agrees(self.ours)


@dataclass(frozen=True)
class Entry:
    """A spec's line of the ledger."""

    name: str
    counted: Count
    comparisons: tuple[Comparison, ...]

    def comparison(self, quantity: str) -> Comparison | None:
        """Return the comparison of `parameters` or `MACs`."""
        return next((item for item in self.comparisons if item.quantity == quantity), None)

    @property
    def unexplained(self) -> tuple[str, ...]:
        """The quantities that no known way to count or round gives as printed."""
        return tuple(item.quantity for item in self.comparisons if item.explanation is None)

    @property
    def explanation(self) -> str:
        """Say what makes the printed figures of ours, where they are not the same."""
        remarks = [
            f"{item.quantity}: {item.explanation}"
            for item in self.comparisons
            if item.explanation and not item.agrees
        ]
        paper = self.counted.paper
        if paper and paper.macs and paper.macs_input != self.counted.graph.input[:2]:
            remarks.append(f"MACs are those of {'x'.join(map(str, paper.macs_input))}")
        if paper and paper.comment and self.comparisons and not self.unexplained:
            remarks.append(paper.comment)
        return "; ".join(remarks)

    @property
    def remains(self) -> str:
        """Say which figures are not explained, and what the spec says of them."""
        if not self.unexplained:
            return ""
        comment = self.counted.paper.comment if self.counted.paper else None
        return " and ".join(self.unexplained) + (f": {comment}" if comment else "")

    def as_dict(self) -> dict[str, Any]:
        """Return the line as data for JSON."""
        paper = self.counted.paper
        return {
            "name": self.name,
            "input": list(self.counted.graph.input),
            "parameters": {
                "trainable": self.counted.trainable_parameters,
                "batch_norm_statistics": self.counted.batch_norm_statistics,
            },
            "macs": self.counted.macs,
            "source": paper and paper.source,
            "comparisons": [
                {
                    "quantity": item.quantity,
                    "ours": item.ours,
                    "printed": item.printed.value,
                    "relative_difference": item.difference,
                    "agrees": item.agrees,
                    "explanation": item.explanation,
                }
                for item in self.comparisons
            ],
            "unexplained": list(self.unexplained),
            "comment": paper and paper.comment,
        }


def entry(name: str, loaded: LoadedSpec) -> Entry:
    """Compare a spec's network with what its source prints."""
    counted = count(compile_spec(loaded))
    return Entry(name, counted, tuple(_comparisons(loaded, counted)))


def _comparisons(loaded: LoadedSpec, counted: Count) -> list[Comparison]:
    paper = counted.paper
    found = []
    if paper and paper.parameters is not None:
        figure = Figure.of(paper.parameters)
        ours = counted.trainable_parameters
        explanation = explained(figure, ours, counted.batch_norm_statistics)
        found.append(Comparison("parameters", ours, figure, explanation))
    if paper and paper.macs is not None:
        figure = Figure.of(paper.macs)
        height, width = paper.macs_input
        same = paper.macs_input == counted.graph.input[:2]
        macs = (
            counted.macs if same else count(compile_spec(loaded, input_size=(height, width))).macs
        )
        found.append(Comparison("MACs", macs, figure, explained(figure, macs)))
    return found
