"""What a study may say, as pydantic models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from ranspec.spec.base import Identifier, Model, Text, Whole


def _one_line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError(f"found {text[:40]!r}, expected one line of text")
    return text


Line = Annotated[str, Field(max_length=200), AfterValidator(_one_line)]
Measure = Literal["error", "top5_error", "accuracy"]
"""In percent: of the test images that are not in the class given first, not in one of the first
five, and in the class given first."""
MEASURES: Mapping[Measure, str] = {
    "error": "error, %",
    "top5_error": "top-5 error, %",
    "accuracy": "accuracy, %",
}
"""What is written for each."""


class Figure(Model):
    """A printed figure."""

    number_keys: ClassVar[tuple[str, ...]] = ("figure",)

    figure: Annotated[float, Field(ge=0, le=100)] = Field(description="In percent, as printed.")
    not_comparable: Text | None = Field(
        default=None,
        description="Why it is shown but not compared with: it was measured otherwise, for one.",
    )


class Printed(Model):
    """What the source prints of an entry, by measure."""

    error: Figure | None = Field(
        default=None, description="Share of test images that are classified wrongly."
    )
    top5_error: Figure | None = Field(
        default=None, description="Share of test images in none of the first five classes."
    )
    accuracy: Figure | None = Field(
        default=None, description="Share of test images that are classified rightly."
    )

    def figures(self) -> dict[Measure, Figure]:
        """Return the figures that are printed."""
        found: dict[Measure, Figure | None] = {
            "error": self.error,
            "top5_error": self.top5_error,
            "accuracy": self.accuracy,
        }
        return {measure: figure for measure, figure in found.items() if figure is not None}


class Entry(Model):
    """A network of a study, trained once for each seed and backend: a cell of its table."""

    row: Line = Field(description="What its row of the table begins with, as the source has it.")
    column: Line | None = Field(
        default=None, description="The heading of its column, where rows have several entries."
    )
    spec: Line = Field(
        description="The spec's name in `ranspec list`, or a file relative to the study's."
    )
    set: tuple[Line, ...] = Field(
        default=(), description="What `--set` changes in it, such as train.clean_labels=0.9."
    )
    printed: Printed = Field(default=Printed(), description="What the source prints of it.")
    notes: tuple[Text, ...] = Field(
        default=(), description="What a reader of the entry's figures should know."
    )

    @property
    def name(self) -> str:
        """Return what tells the entry apart from the others of its study."""
        return f"{self.row}, {self.column}" if self.column else self.row


class Table(Model):
    """A table: a row for each `row` of the entries, and a column for each `column`."""

    kind: Literal["table"] = "table"
    heading: Line = Field(default="network", description="What stands above the rows' names.")
    measures: tuple[Measure, ...] = Field(
        default=(), description="What is reported; what is printed, or else the error, by default."
    )


class ResponsePlot(Model):
    """A plot of the mean absolute response of each stage's output, a line for each entry."""

    kind: Literal["response"]


Output = Annotated[Table | ResponsePlot, Field(discriminator="kind")]


class Study(Whole):
    """A table or a figure of a paper: which networks are trained, and what is printed for each."""

    title: Line = Field(description="What the study shows, in one line.")
    source: Text = Field(description="The paper, or whatever else prints the figures.")
    place: Line | None = Field(
        default=None, description="Which table or figure of the source it is, such as Table 1."
    )
    notes: tuple[Text, ...] = Field(
        default=(), description="What a reader should know: choices, and what cannot be repeated."
    )
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0, le=2**31 - 1)], ...], Field(min_length=1, max_length=1000)
    ] = Field(default=(0,), description="Seeds that every entry is trained with.")
    backends: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=50)] = Field(
        default=("torch",), description="Backends that every entry is trained with."
    )
    output: Output = Field(default=Table(), description="What comes out: a table or a plot.")
    entries: Annotated[tuple[Entry, ...], Field(min_length=1, max_length=500)] = Field(
        description="The networks, in the order of the source."
    )

    @property
    def heading(self) -> str:
        """Return the title with the source's own name for the table."""
        return f"{self.place}: {self.title}" if self.place else self.title

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Return what is reported of each entry."""
        asked = self.output.measures if isinstance(self.output, Table) else ()
        printed = (measure for entry in self.entries for measure in entry.printed.figures())
        return tuple(dict.fromkeys(asked or printed)) or ("error",)

    def _disagreements(self) -> Iterator[tuple[tuple[str, ...], str]]:
        for key, values in (("seeds", self.seeds), ("backends", self.backends)):
            for index, value in enumerate(values):
                if value in values[:index]:
                    yield (key, str(index)), f"{value} is given twice"
        names = [entry.name for entry in self.entries]
        for index, name in enumerate(names):
            if name in names[:index]:
                first = names.index(name)
                message = f"entry {first} is called {name!r} too; give one another row or column"
                yield ("entries", str(index), "row"), message
