"""From a spec to a verified graph."""

from __future__ import annotations

import builtins
import keyword
import math
import re
from collections import Counter

from ranspec.blocks.network import network
from ranspec.ir.builder import BuildError, NetworkSettings, Tracer
from ranspec.ir.graph import Graph, Paper
from ranspec.ir.naming import camel_case
from ranspec.ir.verifier import verify_graph
from ranspec.spec import DEFAULT, LoadedSpec, Problem, Spec, SpecError
from ranspec.spec.families import STAGE_PARTS

_DATA = r"(?<=[a-z0-9])(_tiny)?_(cifar(10|100)?|imagenet)$"
_DIVISORS = frozenset({"groups", "reduction", "reductions"})
"""Settings that a stage's channels are divided by: where they are defaults, channels are wrong."""


def compile_spec(loaded: LoadedSpec, *, input_size: tuple[int, int] | None = None) -> Graph:
    """Compile a spec, for another (height, width) than its own if one is given.

    Raises `SpecError`, with the position in the spec, where the network cannot be built or is
    larger than the spec's `parameter_limit`.
    """
    spec = loaded.spec
    try:
        graph = trace_spec(spec, input_size=input_size)
    except BuildError as error:
        place = f" (at {error.path})" if error.path else ""
        problem = loaded.problem(_spec_path(loaded, error), f"{error}{place}")
        raise SpecError((problem,)) from error
    sizes = Counter[str]()
    for path, tensor in graph.tensors.items():
        sizes[path.partition(".")[0]] += math.prod(tensor.shape)
    size = sizes.total()
    if size > spec.parameter_limit:
        message = (
            f"the network has {size:,} parameters, more than parameter_limit "
            f"{spec.parameter_limit:,}; raise parameter_limit if it is meant"
        )
        largest = ("stages", sizes.most_common(1)[0][0], "channels")
        written = loaded.origins["parameter_limit",] != DEFAULT or largest not in loaded.origins
        origin = loaded.locate("parameter_limit") if written else loaded.locate(*largest)
        raise SpecError((Problem.at(origin, ("parameter_limit",), message),))
    verify_graph(graph)
    return graph


def trace_spec(spec: Spec, *, input_size: tuple[int, int] | None = None) -> Graph:
    """Trace a spec's network; raises `BuildError`, without a position, where it cannot be built."""
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
    root = Tracer(network_settings(spec)).trace(call, [(height, width, spec.input.channels)])
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
