"""One YAML spec of a vision network in; native PyTorch, TensorFlow and JAX training code out.

As a library:

    import ranspec

    loaded = ranspec.load_spec("attention92_cifar", ["attention.activation=spatial"])
    graph = ranspec.compile_spec(loaded)
    print(ranspec.count(graph).trainable_parameters)
    print(ranspec.build(loaded, "torch").folder)
    print(ranspec.verify_spec(loaded, ["torch", "jax"]).passed)

Every error that a user can mend is a `RanspecError`, and says how.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ranspec.analysis.count import count
    from ranspec.codegen.build import build
    from ranspec.compile import compile_spec
    from ranspec.errors import RanspecError
    from ranspec.spec import load_spec
    from ranspec.verify.harness import verify as verify_spec

__version__ = "0.1.0"

__all__ = [
    "RanspecError",
    "__version__",
    "build",
    "compile_spec",
    "count",
    "load_spec",
    "verify_spec",
]

_HOMES = {
    "RanspecError": ("ranspec.errors", "RanspecError"),
    "build": ("ranspec.codegen.build", "build"),
    "compile_spec": ("ranspec.compile", "compile_spec"),
    "count": ("ranspec.analysis.count", "count"),
    "load_spec": ("ranspec.spec", "load_spec"),
    "verify_spec": ("ranspec.verify.harness", "verify"),
}


def __getattr__(name: str) -> object:
    """Import a part of the library when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
