"""What the ONNX backend can do; ONNX itself is imported only when a model is written."""

from __future__ import annotations

from dataclasses import dataclass

from ranspec.codegen.backend import Backend, Files, Request, UnsupportedError
from ranspec_onnx.emitter import OPERATIONS

LIMIT = 2**31 - 2**20
"""A message of Protocol Buffers is smaller than 2 GiB; the structure takes the rest."""


@dataclass(frozen=True, kw_only=True)
class OnnxBackend(Backend):
    """Writes a network and its weights as one binary file."""

    def write(self, request: Request) -> Files:
        from ranspec_onnx.model import write_model

        loaded, weights = request.loaded, request.weights
        assert weights is not None
        double = request.dtype == "float64"
        size = sum(array.size for array in weights.arrays.values()) * (8 if double else 4)
        if size > LIMIT:
            raise UnsupportedError(
                f"the weights of {loaded.spec.name} take {size / 2**30:.1f} GiB; "
                "one ONNX file holds less than 2"
            )
        metadata = {
            "ranspec.spec": loaded.spec.name,
            "ranspec.spec_sha256": loaded.digest,
            "ranspec.source": loaded.spec.source,
            "ranspec.weights": weights.origin,
        }
        model = write_model(request.graph, self, weights.arrays, metadata, double=double)
        return {"model.onnx": model.SerializeToString(deterministic=True)}


BACKEND = OnnxBackend(
    name="onnx",
    aliases=("onnxruntime",),
    title="ONNX",
    package="ranspec_onnx",
    operations=OPERATIONS,
    requirements={"onnx": "onnx>=1.17", "onnxruntime": "onnxruntime>=1.20"},
    trains=False,
    writes_with=("onnx",),
    embeds_weights=True,
)
