"""The readings of a spec: every combination of what its source leaves open.

A network is a row of parts (stem, stages, head) whose sizes and costs add up. What is open in one
part is therefore costed part by part, and only what is open for all parts at once (units, masks,
input) is costed combination by combination.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from math import inf, prod
from typing import TYPE_CHECKING, Any

from ranspec.analysis.count import Cost, block_costs
from ranspec.analysis.figures import Figure
from ranspec.blocks.network import network_parts
from ranspec.compile import network_settings
from ranspec.ir.builder import BlockCall, BuildError, Tracer
from ranspec.ir.operation import Sizes
from ranspec.ir.trace import Trace
from ranspec.spec import Spec, SpecError
from ranspec.spec.alternatives import Readings
from ranspec.spec.attention import EncoderDecoderMask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Costs = NDArray[np.float64]
    """A row of parameters, statistics and MACs for each reading; NaN for one that is none."""

Choices = Mapping[str, tuple[Any, ...]]
"""The values to try, by dotted key; the spec's own comes first."""

MANY = 1e6
"""More than the keys that a reading can change."""

CONVENTIONS: Mapping[str, str] = {
    "trainable": "trainable parameters",
    "with-statistics": "parameters with batch-norm statistics",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a source prints."""

    parameters: Figure | None
    macs: Figure | None


@dataclass(frozen=True)
class Reading:
    """A reading of a spec under a convention, and how near it comes to what is printed."""

    changes: Mapping[str, Any]
    convention: str
    parameters: int
    macs: int
    matches: bool
    distance: float
    """The largest relative difference from a printed figure."""

    @property
    def rank(self) -> tuple[bool, float, float]:
        """Order matches by how little they change, and the others by how near they come."""
        few = len(self.changes)
        return (False, few, self.distance) if self.matches else (True, self.distance, few)


@dataclass(frozen=True)
class Search:
    """The best readings, and how many there were."""

    best: tuple[Reading, ...]
    tried: int
    matching: int
    impossible: int
    """Combinations that cannot be built."""


def choices_of(spec: Spec, alternatives: Choices) -> dict[str, tuple[Any, ...]]:
    """Return the values to try at each key: the spec's own, then the others."""
    readings = Readings(spec)
    return {
        key: (own, *(value for value in values if value != own))
        for key, values in alternatives.items()
        for own in [readings.value(key)]
    }


def size_of(choices: Choices) -> int:
    """Return the number of combinations."""
    return prod(map(len, choices.values()))


def search(
    spec: Spec,
    choices: Choices,
    target: Target,
    *,
    conventions: Sequence[str] = tuple(CONVENTIONS),
    limit: int = 20,
    progress: Callable[[int], None] = lambda tried: None,
) -> Search:
    """Find the readings that print the given figures, or come nearest.

    `progress` is told how many combinations were tried since it was told last.
    """
    space = _Space.of(spec, choices)
    best: list[Reading] = []
    matching = impossible = 0
    for shared in _combinations(space.shared):
        costs = space.costs(shared)
        found, hits, invalid = _rated(space, shared, costs, target, conventions, limit)
        best = sorted([*best, *found], key=lambda reading: reading.rank)[:limit]
        matching += hits
        impossible += invalid
        progress(len(costs))
    return Search(tuple(best), size_of(choices), matching, impossible)


@dataclass(frozen=True, eq=False)
class _Space:
    """A spec's choices: those of all parts at once, and those of one part each."""

    readings: Readings
    shared: Choices
    local: Mapping[str, Choices]
    _ledgers: dict[Hashable, _Ledger] = field(default_factory=dict)
    _variants: dict[str, list[Spec | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: Spec, choices: Choices) -> _Space:
        local: dict[str, dict[str, tuple[Any, ...]]] = {
            name: {} for name in ("stem", *spec.stages, "head")
        }
        shared: dict[str, tuple[Any, ...]] = {}
        for key, values in choices.items():
            local.get(_part(key), shared)[key] = values
        return cls(Readings(spec), shared, local)

    def costs(self, shared: Mapping[str, Any]) -> Costs:
        """Return the costs of every combination of the parts' choices, the last varying first."""
        import numpy as np

        try:
            spec = self.readings.read(shared)
        except SpecError:
            return np.full((prod(map(size_of, self.local.values())), 3), np.nan)
        settings = network_settings(spec)
        ledger = self._ledgers.setdefault(settings, _Ledger(Tracer(settings)))
        image = (spec.input.height, spec.input.width, spec.input.channels)
        return _sums(ledger, self._parts(spec), image, {})

    def _parts(self, spec: Spec) -> list[list[list[BlockCall] | None]]:
        """Return the variants of each part, None for one that is no part."""
        return [
            [
                None if variant is None else _calls(spec, variant, name)
                for variant in self._read(name)
            ]
            for name in self.local
        ]

    def _read(self, name: str) -> list[Spec | None]:
        if name not in self._variants:
            self._variants[name] = [
                _valid(self.readings, local) for local in _combinations(self.local[name])
            ]
        return self._variants[name]

    @cached_property
    def _local_values(self) -> dict[str, tuple[Any, ...]]:
        return {key: values for part in self.local.values() for key, values in part.items()}

    @cached_property
    def local_changes(self) -> NDArray[np.int64]:
        """How many of the parts' choices are not the spec's own, for each combination."""
        import numpy as np

        total = np.zeros(1, dtype=np.int64)
        for values in self._local_values.values():
            total = np.add.outer(total, np.arange(len(values)) > 0).reshape(-1)
        return total

    def changes(self, shared: Mapping[str, Any], index: int = 0) -> dict[str, Any]:
        """Return what a combination changes of the spec."""
        chosen = {}
        for key, values in reversed(self._local_values.items()):
            index, position = divmod(index, len(values))
            chosen[key] = values[position]
        ordered = dict(shared) | dict(reversed(chosen.items()))
        return {key: value for key, value in ordered.items() if value != self.readings.value(key)}


def _part(key: str) -> str:
    """Return the part that a key is about; nothing for one that is about all."""
    first, *rest = key.split(".")
    if first == "stages" and len(rest) > 1:
        return rest[0]
    return {"stem": "stem", "head": "head", "classes": "head"}.get(first, "")


def _combinations(choices: Choices) -> Iterable[dict[str, Any]]:
    return (dict(zip(choices, values, strict=True)) for values in product(*choices.values()))


def _valid(readings: Readings, changes: Mapping[str, Any]) -> Spec | None:
    try:
        return readings.read(changes)
    except SpecError:
        return None


def _calls(spec: Spec, variant: Spec, name: str) -> list[BlockCall] | None:
    """Return the blocks of a part, its own settings those of a variant; None if it is none."""
    stage = variant.stages.get(name)
    if stage and stage.modules and stage.mask_depth is None:
        mask = (stage.attention or spec.attention).mask
        if isinstance(mask, EncoderDecoderMask):
            return None
    parts = network_parts(
        classes=variant.classes,
        stem=variant.stem,
        stages=tuple(variant.stages.items()),
        unit=spec.unit,
        attention=spec.attention,
        head_settings=variant.head,
    )
    return dict(parts)[name]


@dataclass(frozen=True, eq=False)
class _Ledger:
    """Costs of blocks, each traced and counted once."""

    tracer: Tracer
    known: dict[Trace, Cost] = field(default_factory=dict)

    def cost(self, calls: Sequence[BlockCall], sizes: Sizes) -> tuple[Cost, Sizes] | None:
        """Return what a row of blocks costs and gives; None if it cannot be built."""
        total = Cost()
        last: tuple[BlockCall, Sizes] | None = None
        trace: Trace | None = None
        try:
            for call in calls:
                if trace is None or last != (call, sizes):
                    last = call, sizes
                    trace = self.tracer.trace(call, [sizes])
                if trace not in self.known:
                    block_costs(trace, self.known)
                total += self.known[trace]
                sizes = trace.sizes[trace.output]
        except BuildError:
            return None
        return total, sizes


def _sums(
    ledger: _Ledger,
    parts: Sequence[Sequence[list[BlockCall] | None]],
    sizes: Sizes,
    known: dict[tuple[int, Sizes], Costs],
) -> Costs:
    """Return the costs of all combinations of the parts, fed a map of the given sizes."""
    import numpy as np

    if not parts:
        return np.zeros((1, 3))
    key = (len(parts), sizes)
    if key not in known:
        rest = prod(len(variants) for variants in parts[1:])
        rows = []
        for calls in parts[0]:
            found = None if calls is None else ledger.cost(calls, sizes)
            if found is None:
                rows.append(np.full((rest, 3), np.nan))
            else:
                cost, output = found
                own = np.array([cost.parameters, cost.statistics, cost.macs], dtype=np.float64)
                rows.append(own + _sums(ledger, parts[1:], output, known))
        known[key] = np.concatenate(rows)
    return known[key]


def _rated(
    space: _Space,
    shared: Mapping[str, Any],
    costs: Costs,
    target: Target,
    conventions: Sequence[str],
    limit: int,
) -> tuple[list[Reading], int, int]:
    """Return the best of some combinations, and how many match and cannot be built."""
    import numpy as np

    possible = ~np.isnan(costs[:, 0])
    changes = space.local_changes + len(space.changes(shared))
    matching = np.zeros(len(costs), dtype=bool)
    best: list[Reading] = []
    for convention in conventions:
        parameters = costs[:, 0] + (costs[:, 1] if convention == "with-statistics" else 0)
        macs = costs[:, 2]
        distance = np.where(possible, 0.0, inf)
        matches = possible.copy()
        for values, figure in ((parameters, target.parameters), (macs, target.macs)):
            if figure is not None:
                distance = np.fmax(distance, np.abs(values / figure.value - 1))
                matches &= np.abs(values - figure.value) <= figure.step / 2
        matching |= matches
        few = changes + np.fmin(distance, 0.5)
        order = _first(np.where(matches, few, MANY + distance + 1e-9 * changes), limit)
        best += [
            Reading(
                changes=space.changes(shared, int(index)),
                convention=convention,
                parameters=int(parameters[index]),
                macs=int(macs[index]),
                matches=bool(matches[index]),
                distance=float(distance[index]),
            )
            for index in order
            if possible[index]
        ]
    return best, int(matching.sum()), int((~possible).sum())


def _first(values: Any, limit: int) -> Any:
    """Return the indices of the smallest values."""
    import numpy as np

    if len(values) <= limit:
        return np.argsort(values, kind="stable")
    return np.argpartition(values, limit)[:limit]
