"""The library as `import ranspec` gives it."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import ranspec
from ranspec import RanspecError


def test_it_offers_what_it_names() -> None:
    assert sorted(ranspec.__all__) == ranspec.__all__ == dir(ranspec)
    for name in ranspec.__all__:
        assert getattr(ranspec, name) is not None


def test_a_mistake_is_a_ranspec_error() -> None:
    with pytest.raises(RanspecError, match="attention56_cifar"):
        ranspec.load_spec("atention56_cifar")
    with pytest.raises(RanspecError, match="did you mean torch"):
        ranspec.build(ranspec.load_spec("attention_digits"), "torsh")


def test_every_error_that_a_user_can_mend_is_one() -> None:
    """Others tell of a fault of the compiler, or are turned into one on their way."""
    names = [module.name for module in pkgutil.walk_packages(ranspec.__path__, "ranspec.")]
    modules = [importlib.import_module(name) for name in names if "__main__" not in name]
    classes = {value for module in modules for value in vars(module).values() if is_ours(value)}
    assert RanspecError in classes
    others = {kind.__name__ for kind in classes if not issubclass(kind, RanspecError)}
    assert others == {"ShapeError", "VerificationError"}


def is_ours(value: object) -> bool:
    """Say whether a value is a class of errors, but for modules that are copied into builds."""
    return (
        isinstance(value, type)
        and issubclass(value, Exception)
        and value.__module__.startswith("ranspec.")
        and not value.__module__.startswith("ranspec.runtime.")
    )


def test_a_network_is_counted_beside_what_its_source_prints() -> None:
    graph = ranspec.compile_spec(ranspec.load_spec("attention92_cifar"))
    counted = ranspec.count(graph)
    assert counted.paper is graph.paper
    assert counted.paper is not None
    assert counted.paper.parameters == 1.9e6


def test_what_is_printed_fits_a_line() -> None:
    loaded = ranspec.load_spec("attention92_cifar")
    graph = ranspec.compile_spec(loaded)
    assert repr(loaded).startswith("<LoadedSpec attention92_cifar from ")
    assert repr(graph).startswith("<Graph attention92_cifar: ")
    assert repr(graph).endswith("input 32x32x3>")
    assert repr(ranspec.count(graph)) == (
        "<Count of attention92_cifar: 1,841,274 parameters, 211,913,216 MACs, depth 92>"
    )
    assert repr(graph.root) == "<Trace Attention92: (32, 32, 3) -> (10,)>"
