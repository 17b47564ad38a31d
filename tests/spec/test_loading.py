"""Specs are found by path or name, inherit, take overrides, and know where values come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ranspec.spec import DEFAULT, Origin, Problem, SpecError, available_specs, load_spec
from ranspec.spec.attention import EncoderDecoderMask, LocalConvolutionMask
from ranspec.spec.model import Spec
from ranspec.spec.training import Adam, Sgd
from ranspec.spec.yaml_source import resolve

from .conftest import BASE, Write


def message(source: str | Path, **options: bool) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(source, **options)
    return str(caught.value)


# --- one file


def test_a_spec_is_loaded_with_its_defaults(write: Write) -> None:
    loaded = load_spec(write())
    assert loaded.spec.name == "small"
    assert loaded.spec.stages["stage2"].stride == 2
    assert isinstance(loaded.spec.attention.mask, EncoderDecoderMask)
    assert loaded.files == (Path("a.yaml"),)


def test_every_value_has_an_origin(write: Write) -> None:
    loaded = load_spec(write(), ["train.learning_rate.at=[1, 2]"])
    origins = loaded.origins
    override = Origin("--set train.learning_rate.at=[1, 2]")
    assert origins["classes",] == Origin("a.yaml", 4, 10)
    assert origins["stages", "stage1"] == Origin("a.yaml", 7, 3)
    assert origins["attention", "t"] == DEFAULT
    assert origins["train", "learning_rate", "at", "1"] == override
    assert origins["train", "learning_rate", "initial"] == DEFAULT
    assert str(origins["classes",]) == "a.yaml:4:10"


def test_a_missing_place_is_located_at_what_is_around_it(write: Write) -> None:
    loaded = load_spec(write())
    assert loaded.locate("stages", "stage1", "unit", "kind") == Origin("a.yaml", 7, 3)
    assert loaded.locate("attention", "t") == Origin("a.yaml", 1, 1)
    problem = loaded.problem(("stages", "stage1", "mask_depth"), "too deep")
    assert problem == Problem("a.yaml", 10, 17, "stages.stage1.mask_depth", "too deep")
    assert str(problem) == "a.yaml:10:17: stages.stage1.mask_depth: too deep"


def test_the_resolved_spec_is_itself_a_spec(write: Write) -> None:
    loaded = load_spec(write())
    again = load_spec(write(yaml.safe_dump(loaded.resolved()), "b.yaml"))
    assert again.digest == loaded.digest
    assert Spec.model_validate(loaded.resolved()) == loaded.spec
    assert Spec.model_validate_json(json.dumps(loaded.resolved())) == loaded.spec


def test_the_digest_follows_values_and_not_their_layout(write: Write) -> None:
    loaded = load_spec(write())
    assert load_spec(write(f"# a comment\n{BASE}")).digest == loaded.digest
    assert load_spec("a.yaml", ["attention.t=2"]).digest == loaded.digest
    assert load_spec("a.yaml", ["attention.t=3"]).digest != loaded.digest


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1E3", 1e3), (".5", 0.5), ("5.", 5.0), ("-1", -1), ("+1.5e+2", 150.0),
        ("010", 10), ("0o10", 8), ("0x10", 16), ("", None), ("~", None), ("null", None),
        ("true", True), ("False", False), ("on", "on"), ("yes", "yes"), ("No", "No"), ("y", "y"),
        ("1_000", "1_000"), ("1:30", "1:30"), ("2020-01-01", "2020-01-01"), ("0b1", "0b1"),
        ("e5", "e5"), (".", "."), ("1e", "1e"), ("\u0661", "\u0661"),
    ],
)  # fmt: skip
def test_plain_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    found = resolve(text)
    assert (found, type(found)) == (value, type(value))


def test_quoted_and_tagged_scalars_keep_their_type(write: Write) -> None:
    loaded = load_spec(write(BASE + "notes: ['1', !!str 2, \"true\"]\n"))
    assert loaded.spec.notes == ("1", "2", "true")


def test_an_alias_repeats_a_value(write: Write) -> None:
    text = BASE.replace("{height: 32, width: 32}", "{height: &size 32, width: *size}")
    assert load_spec(write(text)).spec.input.width == 32


def test_a_part_without_kind_is_of_its_defaults_kind(write: Write) -> None:
    loaded = load_spec(write(BASE + "  optimizer: {momentum: 0.5}\n"))
    assert loaded.spec.train.optimizer == Sgd(momentum=0.5)
    assert loaded.origins["train", "optimizer", "kind"] == DEFAULT


# --- names


def test_names_are_found_in_specs_first(write: Write) -> None:
    write(name="specs/here.yaml")
    write(name="specs/group/there.yaml")
    write(name="specs/_base.yaml")
    search = [Path("specs")]
    assert load_spec("here").files == (Path("specs/here.yaml"),)
    assert load_spec("group/there").files == (Path("specs/group/there.yaml"),)
    assert available_specs(search) == ["group/there", "here"]
    with pytest.raises(SpecError, match=r"^her: no spec of this name; did you mean here"):
        load_spec("her", search=search)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("b.yaml", "b.yaml: no such file; did you mean a.yaml?"),
        (".", ".: not a file"),
        ("../x", "../x: no such file"),
        ("x\0.yaml", "x\\x00.yaml: no such file; did you mean a.yaml?"),
        ("x" * 5000 + ".yaml", "x" * 5000 + ".yaml: cannot be read (OSError)"),
        ("\x1b[31m", "\\x1b[31m: no spec of this name"),
        ("", ": no spec of this name"),
        ("/dev/zero", "/dev/zero: not a file"),
    ],
)
def test_what_cannot_be_read_is_told(write: Write, source: str, expected: str) -> None:
    write()
    assert message(source) == expected


# --- families


def test_mappings_merge_and_everything_else_replaces(write: Write) -> None:
    write(BASE + "notes: [one, two]\nattention: {t: 5}\n")
    child = (
        "extends: a.yaml\nname: child\nnotes: [three]\nattention: {r: 3}\n"
        "stages: {stage2: {stride: 1}}\n"
    )
    loaded = load_spec(write(child, "b.yaml"))
    assert loaded.spec.notes == ("three",)
    assert (loaded.spec.attention.t, loaded.spec.attention.r) == (5, 3)
    assert (loaded.spec.stages["stage2"].channels, loaded.spec.stages["stage2"].stride) == (128, 1)
    assert loaded.files == (Path("b.yaml"), Path("a.yaml"))
    assert loaded.locate("attention", "t") == Origin("a.yaml", 15, 16)
    assert loaded.locate("attention", "r") == Origin("b.yaml", 4, 16)


def test_another_kind_replaces_the_whole_part(write: Write) -> None:
    write(
        BASE
        + "  optimizer: {momentum: 0.5}\nattention: {mask: {kind: encoder_decoder, up_units: 2}}\n"
    )
    child = (
        "extends: a.yaml\ntrain: {optimizer: {kind: adam}}\n"
        "attention: {mask: {kind: local_convolution}}\n"
    )
    spec = load_spec(write(child, "b.yaml")).spec
    assert spec.train.optimizer == Adam()
    assert spec.attention.mask == LocalConvolutionMask()


def test_the_same_kind_merges(write: Write) -> None:
    write(BASE + "  optimizer: {momentum: 0.5}\n")
    child = "extends: a.yaml\ntrain: {optimizer: {kind: sgd, nesterov: false}}\n"
    spec = load_spec(write(child, "b.yaml")).spec
    assert spec.train.optimizer == Sgd(momentum=0.5, nesterov=False)


def test_null_removes_optional_values_and_stages(write: Write) -> None:
    write(BASE.replace("{channels: 16}", "{channels: 16, pool: {kernel: 2}}"))
    child = "extends: a.yaml\nstem: {pool: null}\nstages: {stage1: null}\n"
    spec = load_spec(write(child, "b.yaml")).spec
    assert spec.stem.pool is None
    assert list(spec.stages) == ["stage2"]


def test_a_problem_is_told_where_its_value_was_written(write: Write) -> None:
    write(BASE.replace("classes: 10", "classes: x") + "attention: {q: 1}\n", "base/a.yaml")
    write("extends: base/a.yaml\nstages: {stage3: {}}\ninput: {width: null, hight: 1}\n")
    assert message("a.yaml").splitlines() == [
        "a.yaml:2:10: stages.stage3.channels: required key is missing",
        "a.yaml:3:16: input.width: found null, expected an integer",
        "a.yaml:3:22: input.hight: unknown key; did you mean height?",
        "base/a.yaml:4:10: classes: found 'x' (a string), expected an integer",
        "base/a.yaml:14:13: attention.q: unknown key; the keys here are p, p_after, t, r, "
        "learning, activation, normalization, mask",
    ]


@pytest.mark.parametrize(
    ("extends", "expected"),
    [
        ("a.yaml", "'a.yaml' extends itself"),
        ("3", "found 3 (an integer), expected the name of a spec or of a file"),
        ("[b.yaml]", "found a list, expected the name of a spec or of a file"),
        ("c.yaml", "'c.yaml': no such file"),
        ("null", "found null, expected the name of a spec or of a file"),
        ("../c.yaml", "'../c.yaml' lies outside the spec's own folder"),
        ("/etc/passwd", "'/etc/passwd' lies outside the spec's own folder"),
        ("link/c.yaml", "'link/c.yaml' lies outside the spec's own folder"),
        ('"a\\0b"', "'a\\x00b'"),
        ("''", "'.': not a file"),
    ],
)
def test_a_wrong_extends_is_told(write: Write, tmp_path: Path, extends: str, expected: str) -> None:
    Path("link").symlink_to(tmp_path.parent)
    found = message(write(f"extends: {extends}\n"))
    if extends == "a.yaml":
        assert found == "a.yaml:1:10: extends: cycle: a.yaml -> a.yaml"
    else:
        assert found.startswith("a.yaml:1:10: extends: ")
        assert expected in found


def test_a_cycle_is_told_with_its_chain(write: Write) -> None:
    write("extends: b.yaml\n")
    write("extends: c/../c.yaml\n", "b.yaml")
    write("extends: b.yaml\n", "c.yaml")
    assert message("a.yaml") == "c.yaml:1:10: extends: cycle: b.yaml -> c.yaml -> b.yaml"


def test_a_family_has_at_most_twenty_generations(write: Write) -> None:
    for number in range(25):
        write(f"extends: g{number + 1}.yaml\n", f"g{number}.yaml")
    assert message("g0.yaml") == ("g19.yaml:1:10: extends: more than 20 files extend one another")


def test_a_file_outside_is_extended_only_when_allowed(write: Write) -> None:
    write(BASE, "base/a.yaml")
    child = write("extends: ../base/a.yaml\n", "own/b.yaml")
    assert "lies outside" in message(child)
    assert load_spec(child, allow_outside=True).spec.name == "small"


def test_specs_of_one_search_folder_extend_one_another(write: Write) -> None:
    write(BASE, "specs/a.yaml")
    child = write("extends: ../a.yaml\n", "specs/group/b.yaml")
    assert load_spec(child).spec == load_spec("group/b").spec


# --- overrides


def test_overrides_apply_in_order(write: Write) -> None:
    overrides = [
        "attention.t=3",
        "attention.t=4",
        "train.optimizer.kind=adam",
        "head.hidden=[8, 9]",
    ]
    spec = load_spec(write(BASE + "  optimizer: {momentum: 0.5}\n"), overrides).spec
    assert spec.attention.t == 4
    assert spec.train.optimizer == Adam()
    assert spec.head.hidden == (8, 9)


def test_all_problems_of_overrides_are_told(write: Write) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(write(), ["x", "attention.t=[", "head.dropout=2"])
    assert [problem.file for problem in caught.value.problems] == [
        "--set x",
        "--set attention.t=[",
        "--set head.dropout=2",
    ]


# --- anything at all

_KEYS = ["name", "stages", "stage1", "train", "kind", "extends", "'", "&a", "*a"]
_VALUES = st.text(max_size=8) | st.sampled_from(["{", "[", "!!int 3", "!x", "|", "&a [*a]"])
_INDENTS = ["", "  ", "    ", "- ", "? "]
_ENTRIES = st.builds("{}{}: {}".format, st.sampled_from(_INDENTS), st.sampled_from(_KEYS), _VALUES)
_LINES = st.lists(st.sampled_from(BASE.splitlines()) | _ENTRIES, max_size=20).map("\n".join)
_TEXTS = (_LINES | st.text(max_size=200)).map(lambda text: text.encode("utf-8", "surrogatepass"))
_PATHS = st.sampled_from(["attention.t", "stages.a", "notes", "train.optimizer"])
_OVERRIDES = st.text(max_size=40) | st.builds("{}={}".format, _PATHS, st.text(max_size=20))


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(b"? [a, b]\n: 3")
@example(b'? "a\\ud800"\n: 3')
@example(b"%TAG ! tag:x,2000:\n--- !x\na: 1")
@example(b"%YAML 9.9\n---\na: 1")
@example(b"\xef\xbb\xbfname: a")
@example(b"\xff\xfea\x00")
@given(st.binary(max_size=200) | _TEXTS)
def test_any_file_gives_a_spec_or_a_spec_error(write: Write, data: bytes) -> None:
    try:
        assert load_spec(write(data)).spec.name
    except SpecError as error:
        assert error.problems
        assert all(line.isprintable() for line in str(error).split("\n"))


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(_OVERRIDES)
def test_any_override_gives_a_spec_or_a_spec_error(write: Write, override: str) -> None:
    try:
        assert load_spec(write(), [override]).spec.name
    except SpecError as error:
        assert all(line.isprintable() for line in str(error).split("\n"))


def test_a_depth_of_a_mask_without_one_is_refused_where_it_was_written_for_it(
    write: Write,
) -> None:
    masks = "attention: {mask: {kind: local_convolution}}\n"
    assert message(write(BASE + masks)) == (
        "a.yaml:10:17: stages.stage1.mask_depth: a mask of kind local_convolution has no depth; "
        "leave it out"
    )
    write()
    child = load_spec(write(f"extends: a\n{masks}", "b.yaml"))
    changed = load_spec("a.yaml", ["attention.mask.kind=local_convolution"])
    assert child.spec.stages["stage1"].mask_depth is None
    assert child.digest == changed.digest
