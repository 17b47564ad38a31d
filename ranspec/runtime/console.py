"""What a person sees of a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TextIO


class Console:
    """Tells a person how a run goes: a bar on a terminal, plain lines elsewhere.

    Results go to stdout, all else to stderr. A stream that nobody reads any more is given up, and
    the run goes on.
    """

    def __init__(self, *, shown: bool = True):
        self.shown = shown
        self._later: list[tuple[str, bool]] = []
        self._total = 0
        self._bar: Any = None

    def begin(self, total: int, start: int) -> None:
        """Show a bar, where there is a terminal, of which some steps have been taken."""
        self._total = total
        if self.shown and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            shape = "{desc}{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}"
            self._bar = tqdm(
                total=total, initial=start, dynamic_ncols=True, bar_format=shape + "{postfix}]"
            )

    def advance(self, steps: int) -> None:
        """Move the bar on."""
        self._draw(lambda bar: bar.update(steps))

    def phase(self, name: str) -> None:
        """Say what is being done, where there is a bar."""
        self._draw(lambda bar: bar.set_description_str(f"{name}: "))

    def line(self, step: int, values: Mapping[str, str]) -> None:
        """Show how far the run is, and with which values."""
        text = ", ".join(f"{name} {value}" for name, value in values.items())
        if self._bar is None:
            self.message(f"step {step}/{self._total}: {text}")
        self._draw(lambda bar: bar.set_postfix_str(text))

    def message(self, text: str) -> None:
        """Say something that is no result."""
        self._print(text, sys.stderr)

    def result(self, text: str) -> None:
        """Say a result."""
        self._print(text, sys.stdout)

    def later(self, text: str, *, result: bool = False) -> None:
        """Keep something back until what it tells of is safe on the disk."""
        self._later.append((text, result))

    def tell(self) -> None:
        """Say what was kept back."""
        for text, result in self._later:
            self._print(text, sys.stdout if result else sys.stderr)
        self._later.clear()

    def close(self) -> None:
        """Leave the bar as it is."""
        self._draw(lambda bar: bar.close())
        self._bar = None

    def _draw(self, action: Any) -> None:
        if self._bar is not None:
            try:
                action(self._bar)
            except (OSError, ValueError):
                self._bar = None

    def _print(self, text: str, stream: TextIO | None) -> None:
        if not self.shown or stream is None:
            return
        self._draw(lambda bar: bar.clear())
        try:
            print(text, file=stream, flush=True)
        except (OSError, ValueError):
            _abandon(stream)
        self._draw(lambda bar: bar.refresh())


def _abandon(stream: TextIO) -> None:
    """Leave nothing for the interpreter to flush at its end where nobody can take it."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
