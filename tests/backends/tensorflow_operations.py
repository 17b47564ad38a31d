"""Compute every case of an operation with the layers that the TensorFlow backend writes.

`python -m tests.backends.tensorflow_operations FOLDER DTYPE...`, in a process of its own since
Keras' floating type is global: runs FOLDER/cases.py and writes FOLDER/DTYPE.npz.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ranspec.ir import operations as ops
from tests.ir.test_operation_gradients import CASES, Case, random_arrays, random_inputs


def inward(array: Any) -> Any:
    maps = array.transpose(0, 2, 3, 1) if array.ndim == 4 else array
    return tf.constant(maps, keras.config.floatx())


def outward(tensor: Any) -> Any:
    return tensor.numpy().transpose(0, 3, 1, 2) if tensor.ndim == 4 else tensor.numpy()


def cotangent(output: Any) -> Any:
    """Return a gradient of an output (N, C, H, W) that no symmetry hides in."""
    return np.cos(np.arange(output.size)).reshape(output.shape)


def results(case: Case, layer: Any) -> dict[str, Any]:
    """Return the output, gradients, and the rest of the state after the forward pass."""
    from weights import load, shapes, state

    inputs = [inward(array) for array in random_inputs(case)]
    layer(*inputs)
    load(layer, {f"layer.{key}": value for key, value in random_arrays(case.operation).items()})
    # The meaning of dropout is the identity; its masks are another test's.
    training = case.training and not isinstance(case.operation, ops.Dropout)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = layer(*inputs, training=training)
    found = {"output": outward(output)} | state(layer)
    gradient = inward(cotangent(found["output"]))
    by_inputs, by_variables = tape.gradient(
        output, (inputs, layer.trainable_variables), gradient, unconnected_gradients="zero"
    )
    for position, by_input in enumerate(by_inputs):
        found[f"input{position}"] = outward(by_input)
    for variable, by_variable in zip(layer.trainable_variables, by_variables, strict=True):
        variable.assign(by_variable)
    trained = {
        f"layer.{key}" for key, spec in case.operation.parameters().items() if spec.trainable
    }
    found |= {key: value for key, value in state(layer).items() if key in trained}
    assert set(shapes(layer)) <= set(found)
    return found


def main(folder: Path, dtypes: list[str]) -> None:
    sys.path.insert(0, str(folder))
    cases = importlib.import_module("cases")
    for dtype in dtypes:
        keras.config.set_floatx(dtype)
        keras.config.set_dtype_policy(dtype)
        computed = {
            f"{number}/{name}": array
            for number, case in enumerate(CASES)
            for name, array in results(case, getattr(cases, f"Case{number}")()).items()
        }
        np.savez(folder / f"{dtype}.npz", **computed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
