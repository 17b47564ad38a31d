"""`alternatives:` are checked like the values they stand for, and are no part of the network."""

from __future__ import annotations

import pytest

from ranspec.spec import SpecError, load_spec
from ranspec.spec.alternatives import Readings

from .conftest import BASE, Write

OPEN = """\
alternatives:
  attention.t: [1, 2]
  stages.stage1.mask_depth: [1, 3]
"""


def problems(path: object) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_spec(path)  # type: ignore[arg-type]
    return [str(problem) for problem in caught.value.problems]


def test_alternatives_are_no_part_of_the_resolved_spec(write: Write) -> None:
    plain, opened = load_spec(write()), load_spec(write(BASE + OPEN, "b.yaml"))
    assert opened.spec.alternatives == {"attention.t": (1, 2), "stages.stage1.mask_depth": (1, 3)}
    assert opened.resolved() == plain.resolved()
    assert opened.digest == plain.digest


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("attention.t: [1, 2.5]", "15:20: alternatives.attention.t: found 2.5 (a number), "
         "expected an integer"),
        ("attention.tt: [1]", "15:18: alternatives.attention.tt: unknown key; did you mean t?"),
        ("atention.t: [1]", "15:16: alternatives.atention.t: 'atention' is no key of the network; "
         "did you mean attention?"),
        ("name: [a]", "15:10: alternatives.name: 'name' is no key of the network"),
        ("train.batch_size: [1]", "15:22: alternatives.train.batch_size: 'train' is no key of the "
         "network"),
        ("stages.stage3.channels: [1]", "15:28: alternatives.stages.stage3.channels: unknown "
         "stage; did you mean stage"),
        ("unit.kind: [preactivation_basik]", "15:15: alternatives.unit.kind: found "
         "'preactivation_basik', expected preactivation_bottleneck, "),
        ("attention.t: 3", "15:16: alternatives.attention.t: found 3 (an integer), expected a "
         "list"),
        ("attention.t: []", "15:3: alternatives.attention.t: found 0 entries, expected at least 1 "
         "entry"),
    ],
)  # fmt: skip
def test_a_wrong_alternative_is_told_with_its_position(
    write: Write, line: str, expected: str
) -> None:
    (problem,) = problems(write(f"{BASE}alternatives:\n  {line}\n"))
    assert problem.startswith(f"a.yaml:{expected}")


def test_alternatives_are_inherited_and_removed_by_null(write: Write) -> None:
    write(BASE + OPEN)
    child = write("extends: a.yaml\nname: child\nalternatives: {attention.t: null}\n", "b.yaml")
    assert load_spec(child).spec.alternatives == {"stages.stage1.mask_depth": (1, 3)}
    none = write("extends: a.yaml\nname: child\nalternatives: null\n", "c.yaml")
    assert load_spec(none).spec.alternatives is None


def test_inherited_alternatives_that_no_longer_apply_are_left_out(write: Write) -> None:
    base = write(BASE + "alternatives: {attention.mask.bottom_units: [1, 2], attention.t: [1]}\n")
    local = "attention: {mask: {kind: local_convolution}}"
    child = write(f"extends: a.yaml\nname: child\n{local}\n", "b.yaml")
    assert load_spec(child).spec.alternatives == {"attention.t": (1,)}
    overridden = load_spec(base, ["attention.mask.kind=local_convolution"])
    assert overridden.spec.alternatives == {"attention.t": (1,)}


def test_a_reading_is_the_spec_with_other_values(write: Write) -> None:
    path = write()
    read = Readings(load_spec(path).spec).read(
        {"attention.t": 3, "unit.kind": "preactivation_basic"}
    )
    same = load_spec(path, ["attention.t=3", "unit.kind=preactivation_basic"]).spec
    assert read == same
