"""What frameworks do at length each time a network is made, and no test here needs."""

from __future__ import annotations

from typing import Any


def build_networks_once() -> None:
    """Have Keras build a network as it is called: it would have it run once more for that."""
    import keras

    keras.Model.build = lambda model, shape: setattr(model, "built", True)


def derive_no_keys() -> None:
    """Have Flax use one key for all: kernels are drawn without it, and tracing keys takes long."""
    from flax import nnx

    nnx.RngStream.__call__ = one_key


def one_key(stream: Any) -> Any:
    """Return the key of a stream as it is."""
    return stream.key[...]
