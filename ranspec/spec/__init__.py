"""The spec language: YAML specs, checked, with every value's source known.

The JSON Schema is in `ranspec.spec.schema`.
"""

from ranspec.spec.errors import DEFAULT, Origin, Problem, SpecError
from ranspec.spec.loader import (
    LoadedSpec,
    Source,
    available_specs,
    load_spec,
    packaged_specs,
    search_folders,
)
from ranspec.spec.model import Spec

__all__ = [
    "DEFAULT",
    "LoadedSpec",
    "Origin",
    "Problem",
    "Source",
    "Spec",
    "SpecError",
    "available_specs",
    "load_spec",
    "packaged_specs",
    "search_folders",
]
