"""From a spec to a verified graph."""

from __future__ import annotations

import builtins
import keyword
import re

from ranspec.blocks.network import network
from ranspec.ir.builder import BuildError, NetworkSettings, Tracer
from ranspec.ir.graph import Graph, Paper, extent, extents
from ranspec.ir.naming import camel_case
from ranspec.ir.verifier import verify_graph
from ranspec.spec import DEFAULT, LoadedSpec, Problem, Spec, SpecError
from ranspec.spec.families import STAGE_PARTS

_DATA = r"(?<=[a-z0-9])(_tiny)?_(cifar(10|100)?|imagenet)$"
_DIVISORS = frozenset({"groups", "reduction", "reductions"})
"""Settings that a stage's channels are divided by: where they are defaults, channels are wrong."""


MOST_LAYERS = 100_000
"""Many times those of the deepest networks known."""


def compile_spec(loaded: LoadedSpec, *, input_size: tuple[int, int] | None = None) -> Graph:
    """Compile a spec, for another (height, width) than its own if one is given.

    Raises `SpecError`, with the position in the spec, where the network cannot be built, has more
    than `MOST_LAYERS` layers, or more parameters than the spec's `parameter_limit`.
    """
    spec = loaded.spec
    try:
        graph = trace_spec(spec, input_size=input_size)
    except BuildError as error:
        place = f" (at {error.path})" if error.path else ""
        problem = loaded.problem(_spec_path(loaded, error), f"{error}{place}")
        raise SpecError((problem,)) from error
    _check_size(loaded, graph)
    verify_graph(graph)
    return graph


def _check_size(loaded: LoadedSpec, graph: Graph) -> None:
    """Refuse a network that is too large, before all of its layers are listed."""
    size = extent(graph.root)
    parts = extents(graph.root)
    if size.layers > MOST_LAYERS:
        largest = max(parts, key=lambda name: parts[name].layers)
        path = ("stages", largest) if largest in loaded.spec.stages else (largest,)
        message = f"the network has {size.layers:,} layers, more than {MOST_LAYERS:,}"
        raise SpecError((loaded.problem(path, f"{message}; most are of {largest}"),))
    limit = loaded.spec.parameter_limit
    if size.parameters > limit:
        message = (
            f"the network has {size.parameters:,} parameters, more than parameter_limit "
            f"{limit:,}; raise parameter_limit if it is meant"
        )
        largest = max(parts, key=lambda name: parts[name].parameters)
        key = ("stages", largest, "channels")
        written = loaded.origins["parameter_limit",] != DEFAULT or key not in loaded.origins
        origin = loaded.locate("parameter_limit") if written else loaded.locate(*key)
        raise SpecError((Problem.at(origin, ("parameter_limit",), message),))


def trace_spec(
    spec: Spec, *, input_size: tuple[int, int] | None = None, tracer: Tracer | None = None
) -> Graph:
    """Trace a spec's network; raises `BuildError`, without a position, where it cannot be built.

    A `tracer` of the same settings lends what it traced of other networks.
    """
    height, width = input_size or (spec.input.height, spec.input.width)
    call = network(
        classes=spec.classes,
        class_name=class_name(spec.name),
        description=f"{spec.source.rstrip('.')}.",
        stem=spec.stem,
        stages=tuple(spec.stages.items()),
        unit=spec.unit,
        attention=spec.attention,
        head_settings=spec.head,
    )
    tracer = tracer or Tracer(network_settings(spec))
    root = tracer.trace(call, [(height, width, spec.input.channels)])
    return Graph(spec.name, root, _printed(spec))


def _printed(spec: Spec) -> Paper | None:
    """Return what the spec's source prints, for the spec's own input if it does not say."""
    if spec.paper is None:
        return None
    size = spec.paper.macs_input
    return Paper(
        parameters=spec.paper.parameters,
        macs=spec.paper.macs,
        macs_input=(size, size) if size else (spec.input.height, spec.input.width),
        source=spec.paper.source or spec.source,
        comment=spec.paper.comment,
    )


def network_settings(spec: Spec) -> NetworkSettings:
    """Return what holds for every layer of a spec's network."""
    return NetworkSettings(
        epsilon=spec.batch_norm.epsilon,
        momentum=spec.batch_norm.momentum,
        same_padding=spec.padding == "same",
    )


def class_name(name: str) -> str:
    """Turn a spec's name into a class name as people write it: `wrn28_10_cifar` into `WRN28x10`.

    The data it is trained on is no part of the name.
    """
    camel = camel_case(re.sub(_DATA, "", name))
    taken = keyword.iskeyword(camel) or hasattr(builtins, camel)
    return f"{camel}Network" if taken else camel


def _spec_path(loaded: LoadedSpec, error: BuildError) -> tuple[str, ...]:
    """Return the place in the spec that is most likely at fault, one that was written."""
    part = error.path.partition(".")[0]
    owner = ("stages", part) if part in loaded.spec.stages else (part,)
    in_mask = ".mask" in error.path

    def distance(path: tuple[str, ...]) -> tuple[bool, bool, int]:
        return path[: len(owner)] != owner, ("mask" in path) != in_mask, len(path)

    settings = (
        path
        for path, origin in loaded.origins.items()
        if path[-1:] == (error.key,)
        and (path[: len(owner)] == owner or path[0] in STAGE_PARTS)
        and origin != DEFAULT
    )
    divided = ((*owner, "channels"),) if error.key in _DIVISORS else ()
    candidates = (*sorted(settings, key=distance), *divided, owner, ("stages",))
    return next((path for path in candidates if path in loaded.origins), owner)
