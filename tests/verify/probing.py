"""A backend's probe that runs the jobs of one file after another, as its process would of one.

python -m tests.verify.probing PROBE FD
"""

from __future__ import annotations

import runpy
import sys

from tests.quick import build_networks_once, derive_no_keys
from tests.serving import serve


def main(probe: str, connection: str) -> None:
    """Serve until the connection is closed."""

    if probe.startswith("ranspec_tensorflow."):
        without_rewriting()
        build_networks_once()
    if probe.startswith("ranspec_jax."):
        derive_no_keys()

    def run(jobs: str) -> None:
        sys.argv[1:] = [jobs]
        runpy.run_module(probe, run_name="__main__")

    serve(connection, run)


def without_rewriting() -> None:
    """Have TensorFlow run graphs as they are: rewriting takes longer than a few steps gain."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


if __name__ == "__main__":
    main(*sys.argv[1:])
