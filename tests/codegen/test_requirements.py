"""A built folder asks for what its files import, and nothing else."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions

import pytest

from tests.rendering import SPECS, TRAINING, rendered


@pytest.mark.parametrize("backend", TRAINING)
@pytest.mark.parametrize("spec", [SPECS[0], "attention_digits", "attention56_imagenet"])
def test_requirements_are_what_the_files_import(spec: str, backend: str) -> None:
    files = rendered(spec, backend)
    own = {name.partition(".")[0] for name in files}
    modules = {
        module
        for name, text in files.items()
        if name.endswith(".py")
        for module in imported(ast.parse(text))
    } - own
    named = {
        re.split("[<>=]", line)[0].replace("-", "_") for line in files["requirements.txt"].split()
    }
    known = packages_distributions()
    providers = {}
    for module in modules - sys.stdlib_module_names:
        names = {name.lower().replace("-", "_") for name in known.get(module, [module])}
        # TensorFlow without GPU has a distribution of its own.
        names = {name.removesuffix("_cpu") for name in names}
        providers[module] = names & named
    assert [module for module, names in providers.items() if not names] == []
    assert set().union(*providers.values()) == named


def imported(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found
