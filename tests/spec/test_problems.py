"""Every mistake in a spec is told in one exact sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranspec.spec import SpecError, load_spec

from .conftest import BASE, Write


def problems(source: str | Path, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_spec(source, overrides)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("attention: {mask_depht: 1}", "14:13: attention.mask_depht: unknown key; the keys here "
         "are p, p_after, t, r, learning, activation, normalization, mask"),
        ("attention: {lerning: naive}", "14:13: attention.lerning: unknown key; "
         "did you mean learning?"),
        ("attention: {t: abc}", "14:16: attention.t: found 'abc' (a string), expected an integer"),
        ("attention: {t: 0}", "14:16: attention.t: found 0, expected at least 1"),
        ("attention: {t: 101}", "14:16: attention.t: found 101, expected at most 100"),
        ("attention: {t: 2.5}", "14:16: attention.t: found 2.5 (a number), expected an integer"),
        ("attention: {t: true}", "14:16: attention.t: found true (a boolean), expected an integer"),
        ("attention: {t: null}", "14:16: attention.t: found null, expected an integer"),
        ("attention: {t: [1]}", "14:13: attention.t: found a list, expected an integer"),
        ("attention: 3", "14:12: attention: found 3 (an integer), expected a mapping"),
        ("attention: {learning: residul}", "14:23: attention.learning: found 'residul', "
         "expected residual or naive; did you mean residual?"),
        ("attention: {mask: {kind: local_conv}}", "14:26: attention.mask.kind: found 'local_conv', "
         "expected encoder_decoder or local_convolution; did you mean local_convolution?"),
        ("attention: {mask: 1}", "14:19: attention.mask: found 1 (an integer), expected a mapping "
         "or one of encoder_decoder, local_convolution"),
        ("attention: {mask: {align_corners: yes}}", "14:35: attention.mask.align_corners: "
         "found 'yes' (a string), expected true or false; write true"),
        ("attention: {mask: {kind: local_convolution, pool: {}}}", "14:45: attention.mask.pool: "
         "unknown key; it is a key of kind encoder_decoder"),
        ("attention: {mask: {encoder_decoder: 1}}", "14:20: attention.mask.encoder_decoder: "
         "unknown key; did you mean decoder?"),
        ("attention: {mask: {pool: {padding: half}}}", "14:36: attention.mask.pool.padding: "
         "found 'half', expected ceil, same, valid, 0, 1, 2, 3, 4, 5, 6 or 7"),
        ("attention: {mask: {pool: {padding: 2}}}", "14:27: attention.mask.pool: padding 2 is "
         "more than half of the kernel, 3"),
        ("head: {hidden: [64, x]}", "14:21: head.hidden.1: found 'x' (a string), "
         "expected an integer"),
        ("head: {hidden: 64}", "14:16: head.hidden: found 64 (an integer), expected a list; "
         "write [64]"),
        ("head: {dropout: 1.0}", "14:17: head.dropout: found 1.0, expected less than 1.0"),
        ("paper: {parameters: 1_000}", "14:21: paper.parameters: found '1_000' (a string), "
         "expected a number; write 1000"),
        ("paper: {parameters: .inf}", "14:21: paper.parameters: found .inf, "
         "expected a finite number"),
        ("paper: {parameters: 1e999}", "14:21: paper.parameters: found 1e999, "
         "expected a finite number"),
        ("notes: [2020-01-01, 3]", "14:21: notes.1: found 3 (an integer), expected text; "
         "write '3'"),
        ('notes: ["a\\e[31mb"]', "14:9: notes.0: character U+001B cannot be printed; remove it"),
        ('attention: {t: "\\e[31m"}', "14:16: attention.t: found '\\x1b[31m' (a string), "
         "expected an integer"),
        ('"\\e[31m": 1', "14:1: \\x1b[31m: unknown key; the keys here are "),
        ("classes: 3", "14:1: classes: duplicate key; it was given at line 4 already"),
        ("1: 3", "14:1: found 1 as a key, expected a name"),
        ("<<: {t: 1}", "14:1: merge keys are not supported; use extends, or an alias as a value"),
        ("notes: !!python/object:os.system [x]", "14:8: notes: tag "
         "'tag:yaml.org,2002:python/object:os.sy...' is not allowed"),
        ("unit: !thing x", "14:7: unit: tag '!thing' is not allowed"),
        ("parameter_limit: !!int x", "14:18: parameter_limit: found 'x', which is not a YAML int"),
        ("unit: *nothing", "14:7: no anchor &nothing comes before this alias; put other text "
         "in quotes"),
        ("unit: &loop [*loop]", "14:14: alias 'loop' contains itself"),
        ("\tunit: 1", "14:1: a tab cannot indent; use spaces"),
        ("unit: {", "14:7: the { that opens here is never closed"),
        ("---", "14:1: a spec is one document; found a second"),
        ("notes: [" + "x" * 3000 + "]", "14:9: notes.0: found '" + "x" * 37
         + "...', expected at most 2000 characters"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_told_with_its_position(write: Write, line: str, expected: str) -> None:
    path = write(f"{BASE}{line}\n")
    (problem,) = problems(path)
    if expected.endswith(" are "):
        assert problem.startswith(f"a.yaml:{expected}")
    else:
        assert problem == f"a.yaml:{expected}"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: small", "name: Small", "1:7: name: found 'Small', expected a name of lower-case "
         "letters, digits and underscores that begins with a letter; write small"),
        ("name: small", "name: 'a\\nb'", "1:7: name: found 'a\\\\nb', expected a name of "
         "lower-case letters, digits and underscores that begins with a letter; write a_nb"),
        ("name: small", "name: class", "1:7: name: 'class' is a keyword of Python; "
         "choose another name"),
        ("classes: 10\n", "", "1:1: classes: required key is missing"),
        ("{height: 32, width: 32}", "{height: 32}", "3:1: input.width: required key is missing"),
        ("  stage2:", "  stem:", "11:3: stages.stem: 'stem' is a part of every network; "
         "choose another name"),
        ("  stage2:", "  if:", "11:3: stages.if: 'if' is a keyword of Python; choose another name"),
        ("    mask_depth: 2\n", "", "7:3: stages.stage1: mask_depth is missing; stages with "
         "encoder-decoder attention need it"),
        ("stride: 2}", "units: 0}", "11:27: stages.stage2: units, modules and units_after are "
         "all 0; a stage needs one of them"),
        ("digits", "digits\n  learning_rate: {kind: exponential, initial: 1, factor: 0.5}",
         "14:3: train.learning_rate.every: required key is missing"),
        ("digits", "digits\n  learning_rate: {at: [5, 5]}", "14:19: train.learning_rate.at: "
         "found [5, 5], expected rising iterations"),
        ("digits", "digits\n  optimizer: {kind: [sgd]}", "14:15: train.optimizer.kind: "
         "found a list, expected sgd, adam or rmsprop"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_told_with_its_position(
    write: Write, old: str, new: str, expected: str
) -> None:
    assert old in BASE
    assert problems(write(BASE.replace(old, new))) == [f"a.yaml:{expected}"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "a.yaml:1:1: a spec is a mapping of keys; found null"),
        (b"- a", "a.yaml:1:1: a spec is a mapping of keys; found a list"),
        (b"a", "a.yaml:1:1: a spec is a mapping of keys; found 'a' (a string)"),
        (b"name: \xff", "a.yaml:1:7: not valid UTF-8"),
        (b"\n a: \x07", "a.yaml:2:5: character U+0007 is not allowed"),
        (b"#" * 1_000_001, "a.yaml:1:1: larger than 1,000,000 bytes"),
        (b"[" * 900_000, "a.yaml:1:52: nested deeper than 50 levels"),
        (b"a: " + b"{a: " * 100_000, "a.yaml:1:201: nested deeper than 50 levels"),
        (b"- " * 400_000, "a.yaml:1:103: nested deeper than 50 levels"),
        (b"a: [" + b"1," * 400_000 + b"]", "a.yaml:1:20003: more than 10,000 values"),
    ],
)
def test_what_is_no_spec_at_all_is_refused(write: Write, data: bytes, expected: str) -> None:
    assert problems(write(data)) == [expected]


def test_aliases_that_explode_are_refused(write: Write) -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
    bomb = "\n".join(["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]", *levels])
    (problem,) = problems(write(bomb))
    assert problem.endswith("more than 10,000 values")


def test_all_problems_of_a_file_are_told_at_once_in_order(write: Write) -> None:
    text = BASE.replace("classes: 10", "classes: x\nclasses: 3").replace(
        "channels: 64", "chanels: 64"
    )
    assert problems(write(text + "head: {drop: !x 1}\n")) == [
        "a.yaml:4:10: classes: found 'x' (a string), expected an integer",
        "a.yaml:5:1: classes: duplicate key; it was given at line 4 already",
        "a.yaml:9:5: stages.stage1.chanels: unknown key; did you mean channels?",
        "a.yaml:15:8: head.drop: unknown key; did you mean dropout?",
        "a.yaml:15:14: head.drop: tag '!x' is not allowed",
    ]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("attention.t=x", "attention.t: found 'x' (a string), expected an integer"),
        ("attention.actvation=x", "attention.actvation: unknown key; did you mean activation?"),
        ("atention.t=1", "atention: unknown key; did you mean attention?"),
        ("attention.t=[", "attention.t: the [ that opens here is never closed"),
        ("attention.t=1\n---\n2", "attention.t: a spec is one document; found a second"),
        ("attention.t=.nan", "attention.t: found .nan, expected a finite number"),
        ("attention.t=!!python/name:os.system x", "attention.t: tag "
         "'tag:yaml.org,2002:python/name:os.system' is not allowed"),
        ("stages.stage3.units=1", "stages.stage3.channels: required key is missing"),
        ("attention", "expected key.path=value"),
        ("=3", "expected key.path=value"),
        ("a..b=3", "expected key.path=value"),
        ("a" + ".a" * 100_000 + "=3", "expected key.path=value"),
        ("extends=b.yaml", "extends: unknown key"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_told_as_it_was_written(
    write: Write, override: str, expected: str
) -> None:
    (problem,) = problems(write(), override)
    shown = override.replace("\n", "\\n")
    if len(shown) <= 40:
        assert problem.startswith(f"--set {shown}: {expected}")
    else:
        assert problem.startswith(f"--set {shown[:37]}...: {expected}")
