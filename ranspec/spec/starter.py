"""The text of a new spec, for its author to edit."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ranspec.errors import RanspecError
from ranspec.spec.base import Identifier
from ranspec.spec.families import Library
from ranspec.spec.loader import load_spec, search_folders
from ranspec.spec.writer import scalar

_OWN = """\
# A small attention network for handwritten digits, to be made into another one.
# `ranspec show` prints every value that may be set, and its default where none is written here.
name: {name}
source: My own design.                # where the network is described
input: {{height: 8, width: 8, channels: 1}}
classes: 10
stem: {{channels: 16}}                  # a 3x3 convolution before the first stage
unit: {{kind: preactivation_bottleneck, reduction: 4}}
attention: {{p: 1, t: 1, r: 1}}         # units around both branches, in the trunk, in the mask
stages:                               # units, then attention modules, then units_after
  stage1: {{channels: 32, units: 1, modules: 1, mask_depth: 2, units_after: 1}}
  stage2: {{channels: 64, units: 1, modules: 1, mask_depth: 1, units_after: 1, stride: 2}}
train:
  data: digits                        # bundled: 1,797 images, nothing to download
  batch_size: 64
  iterations: 800
  learning_rate: {{kind: step, initial: 0.1, factor: 0.1, at: [500, 700]}}
  augmentation: {{pad: 1, flip: false}}
"""
_CHANGED = """\
# A spec that changes another. Everything that is not written here is as there:
# `ranspec show` prints all of it, and `ranspec show --origins` says where each value is written.
extends: {base}
name: {name}
source: My own, after {source}.
notes: []
paper: null                           # the figures printed for the other are not this one's
alternatives: null
# What is to be different, such as:
# attention: {{p: 1, t: 2, r: 1}}
# train: {{batch_size: 128}}
"""


def starter(name: str, path: Path, base: str | None = None) -> str:
    """Return a spec to be written at a path, of its own or one that extends another.

    Raises `RanspecError` for a name that is none, or a base that a spec at the path cannot extend.
    """
    try:
        TypeAdapter(Identifier).validate_python(name)
    except ValidationError:
        near = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789")
        hint = f"; {near} would be one" if near and near != name else ""
        raise RanspecError(
            f"{name!r} cannot be the name of a network: up to 64 small letters, digits and _, "
            f"a letter first, no keyword of Python{hint}"
        ) from None
    if base is None:
        return _OWN.format(name=name)
    loaded = load_spec(base)
    return _CHANGED.format(
        name=name, base=scalar(_extended(base, loaded.files[0], path)), source=loaded.spec.name
    )


def _extended(base: str, file: Path, path: Path) -> str:
    """Return how a spec at a path names another."""
    library = Library(search_folders())
    if library.find(base):
        return base
    folder = path.parent.resolve()
    if not file.resolve().is_relative_to(library.tree(path) or folder):
        raise RanspecError(f"{path} cannot extend {file}, which lies outside its folder")
    return Path(os.path.relpath(file.resolve(), folder)).as_posix()
