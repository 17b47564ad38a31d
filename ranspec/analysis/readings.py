"""The readings of networks: every combination of what their source leaves open.

A network is a row of parts (stem, stages, head) whose sizes and costs add up. What is open in one
part is therefore costed part by part, and only what is open for all parts at once (units, masks,
input) is costed combination by combination. Several networks are searched for one reading that
gives the printed figures of all: a network is not costed where those before it leave no reading
that could be among the best.
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
from ranspec.ir.builder import BlockCall, BuildError, NetworkSettings, Tracer
from ranspec.ir.operation import Sizes
from ranspec.ir.trace import Trace
from ranspec.spec import Spec, SpecError
from ranspec.spec.alternatives import Readings, referred
from ranspec.spec.attention import EncoderDecoderMask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Costs = NDArray[np.float64]
    """A row of parameters, statistics and MACs for each reading; NaN for one that is none."""

Choices = Mapping[str, tuple[Any, ...]]
"""The values to try, by dotted key; first what the specs have."""

MANY = 1e6
"""More than the keys that a reading can change."""

MOST_AT_ONCE = 500_000
"""Combinations of the parts' choices that are held in memory."""

MOST_TRACES = 2_000
"""Traces that are kept for the blocks they share with others."""

CONVENTIONS: Mapping[str, str] = {
    "trainable": "trainable parameters",
    "with-statistics": "parameters with batch-norm statistics",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A network, and what a source prints of it."""

    spec: Spec
    parameters: Figure | None
    macs: Figure | None


@dataclass(frozen=True, slots=True)
class Counted:
    """A network's figures under a reading and a convention."""

    parameters: int
    macs: int


@dataclass(frozen=True)
class Reading:
    """A reading under a convention, and how near it comes to what is printed."""

    changes: Mapping[str, Any]
    convention: str
    networks: tuple[Counted, ...]
    """One for each target, in their order."""
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
    """Combinations that cannot be built, as far as they were costed."""
    pruned: int
    """Combinations that some of the networks ruled out, so that the others were not costed."""


def choices_of(specs: Sequence[Spec], alternatives: Choices) -> dict[str, tuple[Any, ...]]:
    """Return the values to try at each key: what the specs have, then the others.

    Where the specs have different values, the first is `=KEY`: each keeps its own.
    """
    return {
        key: (own, *(value for value in values if value != own))
        for key, values in alternatives.items()
        for own in [_own(key, [Readings(spec).value(key) for spec in specs])]
    }


def _own(key: str, values: Sequence[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else f"={key}"


def size_of(choices: Choices) -> int:
    """Return the number of combinations."""
    return prod(map(len, choices.values()))


def search(
    targets: Sequence[Target],
    choices: Choices,
    *,
    conventions: Sequence[str] = tuple(CONVENTIONS),
    limit: int = 20,
    progress: Callable[[int], None] = lambda tried: None,
) -> Search:
    """Find the readings that give every printed figure, or come nearest.

    `progress` is told how many combinations were tried since it was told last.
    """
    space = _Space.of([target.spec for target in targets], choices)
    ledgers: dict[NetworkSettings, _Ledger] = {}
    networks = [_Network(target, Readings(target.spec), space, ledgers) for target in targets]
    best: list[Reading] = []
    matching = impossible = pruned = 0
    for shared in _combinations(space.shared):
        costs, ratings = _rated(networks, shared, conventions, _worst(best, limit))
        if len(costs) == len(networks):
            found = _listed(space, shared, costs, ratings, limit)
            best = sorted([*best, *found], key=lambda reading: reading.rank)[:limit]
            matching += _count_any(rating.matches for rating in ratings.values())
        else:
            pruned += space.size
        impossible += _count_any(_missing(cost) for cost in costs)
        progress(space.size)
    return Search(tuple(best), size_of(choices), matching, impossible, pruned)


@dataclass(frozen=True, eq=False)
class _Space:
    """The choices for all parts at once, and those for one part each."""

    shared: Choices
    local: Mapping[str, Choices]

    @classmethod
    def of(cls, specs: Sequence[Spec], choices: Choices) -> _Space:
        rows = {tuple(spec.stages) for spec in specs}
        stages = rows.pop() if len(rows) == 1 else ()
        linked = {
            key for values in choices.values() for value in values if (key := referred(value))
        }
        linked |= {key for key, values in choices.items() if any(map(referred, values))}
        local: dict[str, dict[str, tuple[Any, ...]]] = {
            name: {
                key: values
                for key, values in choices.items()
                if _part(key) == name and key not in linked
            }
            for name in ("stem", *stages, "head")
        }
        while prod(map(size_of, local.values())) > MOST_AT_ONCE:
            local.popitem()
        kept = {key for part in local.values() for key in part}
        return cls({key: choices[key] for key in choices if key not in kept}, local)

    @cached_property
    def size(self) -> int:
        """How many combinations of the parts' choices there are."""
        return prod(map(size_of, self.local.values()))

    @cached_property
    def _local_values(self) -> dict[str, tuple[Any, ...]]:
        return {key: values for part in self.local.values() for key, values in part.items()}

    @cached_property
    def local_changes(self) -> NDArray[np.int64]:
        """How many of the parts' choices are not the specs' own, for each combination."""
        import numpy as np

        total = np.zeros(1, dtype=np.int64)
        for values in self._local_values.values():
            total = np.add.outer(total, np.arange(len(values)) > 0).reshape(-1)
        return total

    def changes(self, shared: Mapping[str, Any], index: int = 0) -> dict[str, Any]:
        """Return what a combination changes of the specs."""
        chosen = {}
        for key, values in reversed(self._local_values.items()):
            index, position = divmod(index, len(values))
            chosen[key] = values[position]
        own = {
            key: values[0] for key, values in (*self.shared.items(), *self._local_values.items())
        }
        ordered = dict(shared) | dict(reversed(chosen.items()))
        return {key: value for key, value in ordered.items() if value != own[key]}


@dataclass(frozen=True, eq=False)
class _Network:
    """One of the networks, costed under the choices of a space."""

    target: Target
    readings: Readings
    space: _Space
    ledgers: dict[NetworkSettings, _Ledger]
    """Shared with the other networks, which are made of the same blocks."""
    _variants: dict[tuple[str, str], list[Spec | None]] = field(default_factory=dict)

    def costs(self, shared: Mapping[str, Any]) -> Costs:
        """Return the costs of every combination of the parts' choices, the last varying first."""
        import numpy as np

        try:
            spec = self.readings.read(shared)
        except SpecError:
            return np.full((self.space.size, 3), np.nan)
        settings = network_settings(spec)
        ledger = self.ledgers.setdefault(settings, _Ledger(settings))
        image = (spec.input.height, spec.input.width, spec.input.channels)
        return _sums(ledger, self._parts(spec, shared), image, {})

    def _parts(self, spec: Spec, shared: Mapping[str, Any]) -> list[list[list[BlockCall] | None]]:
        """Return the variants of each part, None for one that is no part."""
        return [
            [
                None if variant is None else _calls(spec, variant, name)
                for variant in self._read(name, shared)
            ]
            for name in ("stem", *spec.stages, "head")
        ]

    def _read(self, name: str, shared: Mapping[str, Any]) -> list[Spec | None]:
        """Return the specs whose settings of one part are its variants."""
        stages = self.target.spec.stages.values()
        own = any(stage.unit or stage.attention for stage in stages)
        if not own and not any(map(_is_structural, shared)):
            shared = {}
        key = (name, repr(shared))
        if key not in self._variants:
            self._variants[key] = [
                _valid(self.readings, {**shared, **local})
                for local in _combinations(self.space.local.get(name, {}))
            ]
        return self._variants[key]


_PARTS = {"stem": "stem", "head": "head", "classes": "head"}


def _part(key: str) -> str:
    """Return the part that a key is about; nothing for one that is about all."""
    first, *rest = key.split(".")
    return rest[0] if first == "stages" and len(rest) > 1 else _PARTS.get(first, "")


def _is_structural(key: str) -> bool:
    """Tell whether a key is among the settings of a part, or of several."""
    first = key.partition(".")[0]
    return first == "stages" or first in _PARTS


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


@dataclass(eq=False)
class _Ledger:
    """Costs of blocks, each traced and counted once."""

    settings: NetworkSettings
    _known: dict[Hashable, tuple[Cost, Sizes] | None] = field(default_factory=dict)
    _costs: dict[Trace, Cost] = field(default_factory=dict)
    _tracer: Tracer | None = None

    def cost(self, calls: Sequence[BlockCall], sizes: Sizes) -> tuple[Cost, Sizes] | None:
        """Return what a row of blocks costs and gives; None if it cannot be built."""
        total = Cost()
        last: tuple[BlockCall, Sizes] | None = None
        found: tuple[Cost, Sizes] | None = None
        for call in calls:
            if last is None or last != (call, sizes):
                last = call, sizes
                found = self._cost(call, sizes)
            if found is None:
                return None
            cost, sizes = found
            total += cost
        return total, sizes

    def _cost(self, call: BlockCall, sizes: Sizes) -> tuple[Cost, Sizes] | None:
        key = (
            call.block.function,
            tuple(call.structure.items()),
            tuple((name, number.value) for name, number in call.numbers.items()),
            sizes,
        )
        if key not in self._known:
            self._known[key] = self._traced(call, sizes)
        return self._known[key]

    def _traced(self, call: BlockCall, sizes: Sizes) -> tuple[Cost, Sizes] | None:
        if self._tracer is None or len(self._costs) > MOST_TRACES:
            self._tracer = Tracer(self.settings, symbolic=False)
            self._costs.clear()
        try:
            trace = self._tracer.trace(call, [sizes])
        except BuildError:
            return None
        return block_costs(trace, self._costs)[trace], trace.sizes[trace.output]


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


@dataclass(frozen=True, slots=True)
class _Rating:
    """How near each combination of the parts' choices comes under a convention."""

    distance: NDArray[np.float64]
    matches: NDArray[np.bool_]

    @property
    def nearest(self) -> float:
        """The least distance; below 0 where one matches."""
        return -1.0 if self.matches.any() else float(self.distance.min())


def _rated(
    networks: Sequence[_Network],
    shared: Mapping[str, Any],
    conventions: Sequence[str],
    worst: float,
) -> tuple[list[Costs], dict[str, _Rating]]:
    """Cost the networks and rate what they have in common.

    Ends with the first network after which nothing can be as near as `worst`.
    """
    import numpy as np

    costs: list[Costs] = []
    ratings: dict[str, _Rating] = {}
    for network in networks:
        costs.append(network.costs(shared))
        for convention in conventions:
            rating = _rating(costs[-1], network.target, convention)
            if before := ratings.get(convention):
                rating = _Rating(
                    np.maximum(before.distance, rating.distance), before.matches & rating.matches
                )
            ratings[convention] = rating
        if all(rating.nearest > worst for rating in ratings.values()):
            break
    return costs, ratings


def _rating(costs: Costs, target: Target, convention: str) -> _Rating:
    import numpy as np

    possible = ~_missing(costs)
    distance = np.where(possible, 0.0, inf)
    matches = possible
    for values, figure in (
        (_parameters(costs, convention), target.parameters),
        (costs[:, 2], target.macs),
    ):
        if figure is not None:
            distance = np.fmax(distance, np.abs(values / figure.value - 1))
            matches = matches & (np.abs(values - figure.value) <= figure.step / 2)
    return _Rating(distance, matches)


def _parameters(costs: Costs, convention: str) -> NDArray[np.float64]:
    return costs[:, 0] + (costs[:, 1] if convention == "with-statistics" else 0)


def _missing(costs: Costs) -> NDArray[np.bool_]:
    import numpy as np

    return np.isnan(costs[:, 0])


def _worst(best: Sequence[Reading], limit: int) -> float:
    """Return the distance beyond which no reading is among the best."""
    if len(best) < limit and not any(reading.matches for reading in best):
        return inf
    return 0.0 if best[0].matches else best[-1].distance


def _count_any(rows: Iterable[NDArray[np.bool_]]) -> int:
    import numpy as np

    return int(np.logical_or.reduce(list(rows)).sum())


def _listed(
    space: _Space,
    shared: Mapping[str, Any],
    costs: Sequence[Costs],
    ratings: Mapping[str, _Rating],
    limit: int,
) -> list[Reading]:
    """Return the best of some combinations under each convention."""
    import numpy as np

    changes = space.local_changes + len(space.changes(shared))
    best: list[Reading] = []
    for convention, rating in ratings.items():
        few = changes + np.fmin(rating.distance, 0.5)
        order = np.where(rating.matches, few, MANY + rating.distance + 1e-9 * changes)
        best += [
            Reading(
                changes=space.changes(shared, int(index)),
                convention=convention,
                networks=tuple(
                    Counted(int(_parameters(cost, convention)[index]), int(cost[index, 2]))
                    for cost in costs
                ),
                matches=bool(rating.matches[index]),
                distance=float(rating.distance[index]),
            )
            for index in _first(order, limit)
            if rating.distance[index] < inf
        ]
    return best


def _first(values: Any, limit: int) -> Any:
    """Return the indices of the smallest values."""
    import numpy as np

    if len(values) <= limit:
        return np.argsort(values, kind="stable")
    return np.argpartition(values, limit)[:limit]
