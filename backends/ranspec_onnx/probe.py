"""Run a model on given images, for the parity harness.

In float32 by ONNX Runtime, which has no convolution in float64; there ONNX's own reference
evaluator takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx.inliner import inline_local_functions
from onnx.reference import ReferenceEvaluator

from ranspec.verify.probe import EVALUATION, EVALUATION_LOGITS, Job, serve, write_arrays
from ranspec_onnx.model import IMAGES, LOGITS, layers

Array = NDArray[Any]


def measure(job: Job) -> None:
    """Evaluate the model of a built folder on the job's first batch."""
    with np.load(job.batches) as batches:
        inputs = {IMAGES: batches["images"][0].astype(job.dtype)}
    model = onnx.load(Path(job.folder, "model.onnx"))
    if job.layers:
        outputs = evaluate(*with_layers(model), inputs)
    else:
        outputs = evaluate(model, {LOGITS: LOGITS}, inputs)
    measured = {EVALUATION + path: array for path, array in outputs.items() if path != LOGITS}
    write_arrays(Path(job.result), {EVALUATION_LOGITS: outputs[LOGITS]} | measured)


def evaluate(
    model: onnx.ModelProto, outputs: Mapping[str, str], inputs: Mapping[str, Array]
) -> dict[str, Array]:
    """Return the values of some outputs by the names that they are given."""
    if all(array.dtype == np.float64 for array in inputs.values()):
        with np.errstate(over="ignore", invalid="ignore"):
            # Its sigmoid computes both of two branches and takes the one that is a number.
            found = ReferenceEvaluator(model).run(list(outputs.values()), dict(inputs))
    else:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), _one_thread(), providers=["CPUExecutionProvider"]
        )
        found = session.run(list(outputs.values()), dict(inputs))
    return dict(zip(outputs, found, strict=True))


def with_layers(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Return a model of the same operators without functions, and its outputs by path.

    They are the logits and what every layer gives.
    """
    inlined = inline_local_functions(model)
    outputs = {LOGITS: LOGITS}
    for (path, node), flat in zip(layers(model), inlined.graph.node, strict=True):
        if "." not in node.name and flat.output[0] != LOGITS:
            outputs[path] = flat.output[0]
            inlined.graph.output.add(name=flat.output[0])
    return inlined, outputs


def _one_thread() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return options


if __name__ == "__main__":
    serve(measure)
