"""A unit, a mask and two operations, added as README.md says, are right in every backend.

Squeeze-and-excitation (Hu et al., 2018) with PReLU (He et al., 2015) and GELU (Hendrycks and
Gimpel, 2016), and a mask in the manner of CBAM (Woo et al., 2018).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.rendering import BACKENDS, ROOT, TRAINING

OPERATIONS = "ranspec/ir/operations"
NEW_FILES = {
    f"{OPERATIONS}/prelu.py": '''"""A rectifier with a learned slope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ranspec.ir.dimension import Dimension
from ranspec.ir.operation import KEEPS_INPUTS, Kept, ParameterSpec, Positionwise

if TYPE_CHECKING:
    from ranspec.ir.operation import Array


@dataclass(frozen=True, eq=False)
class PRelu(Positionwise):
    """max(x, 0) + slope * min(x, 0), with a slope for each channel (He et al., 2015)."""

    label: ClassVar[str] = "prelu"
    cost: ClassVar[int] = 3
    keeps: ClassVar[Kept] = KEEPS_INPUTS

    channels: Dimension

    def parameters(self) -> Mapping[str, ParameterSpec]:
        slope = ParameterSpec((self.channels,), ("channel",), initial=0.25, decays=False)
        return {"weight": slope}

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        (x,) = inputs
        return x * self._factor(arrays, x), x

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        x: Array = saved
        by_slope = (gradient * x * (x < 0)).sum((0, *range(2, x.ndim)))
        return (gradient * self._factor(arrays, x),), {"weight": by_slope}

    def _factor(self, arrays: Mapping[str, Array], x: Array) -> Array:
        import numpy as np

        slope = arrays["weight"].reshape(-1, *(1,) * (x.ndim - 2))
        return np.where(x < 0, slope, np.ones_like(slope))
''',
    f"{OPERATIONS}/gelu.py": '''"""The Gaussian error linear unit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ranspec.ir.operation import KEEPS_INPUTS, Kept, Positionwise

if TYPE_CHECKING:
    from ranspec.ir.operation import Array


@dataclass(frozen=True, eq=False)
class Gelu(Positionwise):
    """x (1 + tanh(a (x + b x^3))) / 2 with a = sqrt(2 / pi), b = 0.044715 (Hendrycks, Gimpel)."""

    label: ClassVar[str] = "gelu"
    cost: ClassVar[int] = 8
    keeps: ClassVar[Kept] = KEEPS_INPUTS

    def forward(
        self, arrays: Mapping[str, Array], *inputs: Array, training: bool
    ) -> tuple[Array, Any]:
        import numpy as np

        (x,) = inputs
        tangent = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
        return x * (1 + tangent) / 2, (x, tangent)

    def backward(
        self, arrays: Mapping[str, Array], saved: Any, gradient: Array
    ) -> tuple[tuple[Array, ...], Mapping[str, Array]]:
        x, tangent = saved
        inner = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
        return (gradient * (1 + tangent + x * (1 - tangent * tangent) * inner) / 2,), {}
''',
    "ranspec/blocks/units/excited.py": '''"""Squeeze-and-excitation."""

from __future__ import annotations

from ranspec.ir.builder import Builder, Value, block
from ranspec.ir.dimension import Dimension, Setting
from ranspec.ir.operations import Gelu, PRelu


@block
def excited(
    b: Builder, x: Value, *, channels: Dimension, stride: Setting, reduction: Setting
) -> Value:
    """Bottleneck unit with squeeze-and-excitation (Hu et al., 2018)."""
    skip = x
    if not b.all_equal((stride, 1), (x.channels, channels)):
        b.variant("ProjectionExcited")
        skip = b.convolution("shortcut", x, channels, kernel=1, stride=stride)
    width = b.let("width", b.divide(channels, reduction, "reduction"))
    y = b.convolution("conv1", b.norm_relu("norm1", x), width, kernel=1)
    y = b.add_node(PRelu(width), b.batch_norm("norm2", y), name="prelu")
    y = b.convolution("conv2", y, width, kernel=3, stride=stride)
    y = b.convolution("conv3", b.norm_relu("norm3", y), channels, kernel=1)
    squeezed = b.linear("squeeze", b.global_average_pool(y), width)
    weights = b.sigmoid(b.linear("excite", b.add_node(Gelu(), squeezed), channels))
    return b.add(skip, b.multiply(y, b.vector_to_map(weights)))
''',
    "ranspec/blocks/cbam.py": '''"""A mask of channel and spatial attention."""

from __future__ import annotations

from ranspec.ir.builder import Builder, Value, block
from ranspec.ir.dimension import Dimension
from ranspec.spec.attention import Attention, CbamMask
from ranspec.spec.units import Unit


@block
def cbam_mask(
    b: Builder,
    x: Value,
    *,
    channels: Dimension,
    depth: int | None,
    unit: Unit,
    attention: Attention,
    mask: CbamMask,
) -> Value:
    """Channel, then spatial attention, in the manner of CBAM (Woo et al., 2018)."""
    b.all_equal((x.channels, channels))
    width = b.let("width", b.divide(channels, mask.reduction, "reduction"))
    weights = b.relu(b.linear("squeeze", b.global_average_pool(x), width))
    weights = b.sigmoid(b.linear("excite", weights, channels))
    y = b.multiply(x, b.vector_to_map(weights))
    return b.sigmoid(b.convolution("spatial", y, 1, kernel=mask.kernel))
''',
}
EXCITED = '''class Excited(Model):
    """A bottleneck with squeeze-and-excitation."""

    kind: Literal["excited"]
    reduction: Reduction = 4


'''
CBAM = '''class CbamMask(MaskModel):
    """Channel, then spatial attention, in the manner of CBAM."""

    described: ClassVar[str] = "a mask of channel and spatial attention"
    has_activation: ClassVar[bool] = False

    kind: Literal["cbam"]
    reduction: Annotated[int, Field(ge=1, le=64)] = 2
    kernel: Annotated[int, Field(ge=1, le=15)] = 7


'''
KERAS_LAYER = '''class PReLU(keras.Layer):
    """A rectifier with a learned slope for each channel."""

    def build(self, shape: tuple[int, ...]) -> None:
        start = keras.initializers.Constant(0.25)
        self.slope = self.add_weight(shape=shape[-1:], initializer=start, name="weight")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.maximum(x, 0) + self.slope * tf.minimum(x, 0)


'''
KERAS_FUNCTION = '''def gelu(x: tf.Tensor) -> tf.Tensor:
    """Return the Gaussian error linear unit; TensorFlow's has a constant in float32."""
    return x * (0.5 + 0.5 * tf.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x * x * x)))


'''
FLAX_LAYER = '''class PReLU(nnx.Module):
    """A rectifier with a learned slope for each channel."""

    def __init__(self, channels: int) -> None:
        self.weight = nnx.Param(jnp.full(channels, 0.25, jnp.float32))

    def __call__(self, x: Array) -> Array:
        return jnp.where(x < 0, self.weight[...] * x, x).astype(x.dtype)


'''
ONNX_NODES = """def gelu(op: ops.Gelu, site: Site, x: str) -> None:
    half, cube = site.scalar(0.5), site.node("Mul", x, site.node("Mul", x, x))
    inner = site.node("Add", x, site.node("Mul", site.scalar(0.044715), cube))
    factor = site.scalar((2 / 3.141592653589793) ** 0.5)
    tangent = site.node("Tanh", site.node("Mul", factor, inner))
    site.result("Mul", x, site.node("Add", half, site.node("Mul", half, tangent)))


def prelu(op: ops.PRelu, site: Site, x: str) -> None:
    (slope,) = site.arrays(op)
    site.result("PRelu", x, site.node("Unsqueeze", slope, site.integers((1, 2))))


"""
INSERTIONS: Mapping[str, list[tuple[str, str]]] = {
    f"{OPERATIONS}/__init__.py": [
        ("from ranspec.ir.operations.pool", "from ranspec.ir.operations.gelu import Gelu"),
        ("from ranspec.ir.operations.resize", "from ranspec.ir.operations.prelu import PRelu"),
        ("    Flatten,\n    Gate,\n    Global", "    Gelu,\n    PRelu,"),
    ],
    "ranspec/blocks/units/__init__.py": [
        ("from ranspec.blocks.units.post", "from ranspec.blocks.units.excited import excited"),
        ('    "inception": inception,', '    "excited": excited,'),
    ],
    "ranspec/spec/units.py": [
        ("Unit = Annotated[", EXCITED),
        ("    | Inception,", "    | Excited"),
    ],
    "ranspec/blocks/masks.py": [
        ("from ranspec.blocks.pooling", "from ranspec.blocks.cbam import cbam_mask"),
        ('    "encoder_decoder": soft_mask,', '    "cbam": cbam_mask,'),
    ],
    "ranspec/spec/attention.py": [("Mask = Annotated[", CBAM)],
    "backends/ranspec_torch/emitter.py": [
        ("        ops.Linear", "        ops.Gelu: function(\"F.gelu(x, approximate='tanh')\"),"),
        ("        ops.Linear", '        ops.PRelu: member("nn.PReLU(op.channels)"),'),
    ],
    "backends/ranspec_tensorflow/emitter.py": [
        ("        ops.Linear", '        ops.Gelu: function("gelu(x)"),'),
        ("        ops.Linear", '        ops.PRelu: member("PReLU()"),'),
    ],
    "backends/ranspec_tensorflow/runtime/layers.py": [
        ("class SpatialAffine", KERAS_LAYER),
        ("def max_pool_", KERAS_FUNCTION),
    ],
    "backends/ranspec_jax/emitter.py": [
        ("        ops.Linear", '        ops.Gelu: function("nnx.gelu(x)"),'),
        ("        ops.Linear", '        ops.PRelu: member("PReLU(op.channels)"),'),
    ],
    "backends/ranspec_jax/runtime/layers.py": [("class SpatialAffine", FLAX_LAYER)],
    "backends/ranspec_onnx/emitter.py": [
        ("OPERATIONS: Mapping", ONNX_NODES),
        ("    ops.Linear", "    ops.Gelu: gelu,"),
        ("    ops.Linear", "    ops.PRelu: prelu,"),
    ],
}
UNION = "Mask = Annotated["
"""The line of the spec language that a mask's model is added to."""
FILES = {*NEW_FILES, *INSERTIONS}

SMALL = """
name: excited_digits
source: A test.
input: {height: 8, width: 8, channels: 1}
classes: 10
stem: {channels: 8}
unit: {kind: excited}
attention: {mask: {kind: cbam}}
stages:
  stage1: {channels: 8, modules: 1}
  stage2: {channels: 12, stride: 2}
train: {data: digits}
"""
SE_ATTENTION = """
extends: attention56_cifar
name: se_attention56
unit: {kind: excited}
"""
FACTS = """
import json, sys
from ranspec.analysis.depth import trunk_depth
from ranspec.analysis.interpreter import initial_state
from ranspec.analysis.memory import activation_bytes
from ranspec.analysis.receptive_field import receptive_fields
from ranspec.compile import compile_spec
from ranspec.spec import load_spec

loaded = load_spec(sys.argv[1])
graph = compile_spec(loaded)
state = initial_state(graph, loaded.spec.train)
print(json.dumps({
    "depth": trunk_depth(graph),
    "memory": activation_bytes(graph),
    "fields": [[s.trunk.size, s.mask and s.mask.size] for s in receptive_fields(graph)],
    "slopes": {n: sorted(set(a.tolist())) for n, a in state.items() if n.endswith("prelu.weight")},
    "decay": [n for n, t in graph.tensors.items() if t.spec.decays],
}))
"""
PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import train, weights
model = train.make_model(train.Settings())
state = weights.state(model)
slopes = {n: sorted(set(a.tolist())) for n, a in state.items() if n.endswith("prelu.weight")}
print(json.dumps({"slopes": slopes, "kernels": list(weights.kernels(model))}))
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, extended."""
    root = tmp_path_factory.mktemp("extended")
    for name in ("ranspec", "backends", "specs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in NEW_FILES.items():
        (root / path).write_text(text)
    for path, insertions in INSERTIONS.items():
        for before, lines in insertions:
            head, mark, tail = (root / path).read_text().partition(f"\n{before}")
            assert mark, (path, before)
            (root / path).write_text(f"{head}\n{lines}{mark}{tail}")
    masks = root / "ranspec/spec/attention.py"
    masks.write_text(masks.read_text().replace(UNION, f"{UNION}CbamMask | "))
    (root / "small.yaml").write_text(SMALL)
    (root / "se_attention56.yaml").write_text(SE_ATTENTION)
    return root


def run(root: Path, *arguments: str) -> str:
    """Run Python in the extended copy; return what it prints."""
    folders = (root, root / "backends")
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
            "KERAS_BACKEND": "tensorflow",
            "JAX_PLATFORMS": "cpu",
        },
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


def facts(root: Path, spec: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(root, "-c", FACTS, spec))
    return found


def changed(root: Path) -> Iterator[tuple[str, int]]:
    """Yield every file that differs from the repository's, and its new lines that say something."""
    for path in sorted(root.rglob("*.py")):
        name = str(path.relative_to(root))
        old = (ROOT / name).read_text() if (ROOT / name).exists() else ""
        if old != path.read_text():
            lines = Counter(path.read_text().splitlines()) - Counter(old.splitlines())
            yield name, sum(count for line, count in lines.items() if line)


def test_what_is_touched_is_what_the_readme_says(extended: Path) -> None:
    lines = dict(changed(extended))
    assert set(lines) == FILES
    assert {name: count for name, count in lines.items() if name not in NEW_FILES} == {
        # Each thing added: a line that imports it, a line that lists it.
        "ranspec/ir/operations/__init__.py": 4,
        "ranspec/blocks/units/__init__.py": 2,
        "ranspec/blocks/masks.py": 2,
        # Its settings, and a line in the union.
        "ranspec/spec/units.py": 5,
        "ranspec/spec/attention.py": 8,
        # A line for each operation, and a layer where the framework lacks one.
        "backends/ranspec_torch/emitter.py": 2,
        "backends/ranspec_tensorflow/emitter.py": 2,
        "backends/ranspec_tensorflow/runtime/layers.py": 10,
        "backends/ranspec_jax/emitter.py": 2,
        "backends/ranspec_jax/runtime/layers.py": 6,
        "backends/ranspec_onnx/emitter.py": 11,
    }
    section = (ROOT / "README.md").read_text().partition("## Extending it")[2]
    for name in ("ALL", "UNITS", "Unit", "MASKS", "Mask", "runtime/layers.py", "emitter.py"):
        assert name in section


def test_excitation_does_not_deepen_a_network(extended: Path) -> None:
    found = facts(extended, "se_attention56.yaml")
    assert found["depth"] == 56


def test_facts_of_the_small_network_are_right(extended: Path) -> None:
    found = facts(extended, "small.yaml")
    assert found["depth"] == 1 + 3 * 6 + 1
    # A unit reads 2 neighbours, then its whole map; the mask reads its whole map, then 6.
    stem, stage1, stage2, _ = found["fields"]
    assert stem == [[3, 3], None]
    assert stage1 == [[3 + 5 * 9] * 2, [3 + 2 * 9 + 7 + 6] * 2]
    assert stage2 == [[48 + 2 + 3 * 2] * 2, None]
    # Maps of 8 or 2 channels and vectors of units; what the mask, its convolution, the gate and the
    # excitation read; the image and the stem's convolution; the strided unit; the head.
    unit = 64 * (3 * 8 + 5 * 2) + 8 + 2 + 2 + 8 + 8
    mask = 8 + 4 + 8 + 8 + 64 * (8 + 1 + 8)
    strided = 64 * (2 * 8 + 3 * 3) + 16 * (2 * 3 + 12) + 12 + 3 + 3 + 12 + 12
    head = 2 * 16 * 12 + 12
    assert found["memory"] == 4 * (64 * (1 + 8) + 5 * unit + mask + strided + head)
    assert set(map(tuple, found["slopes"].values())) == {(0.25,)}
    assert len(found["slopes"]) == 6
    assert not [name for name in found["decay"] if "prelu" in name or "norm" in name]
    assert {name for name in found["decay"] if "stage1.1.mask" in name} == {
        f"stage1.1.mask.{layer}.weight" for layer in ("squeeze", "excite", "spatial")
    }


@pytest.fixture(scope="module")
def report(extended: Path) -> dict[str, Any]:
    chosen = [f"--backend={backend}" for backend in BACKENDS]
    command = ["-m", "ranspec", "verify", "small.yaml", "--steps", "2", "--format", "json"]
    printed = run(extended, *command, *chosen)
    found: dict[str, Any] = json.loads(printed)
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_computes_the_extended_network(report: dict[str, Any], backend: str) -> None:
    assert backend in report["backends"]
    checks = [check for check in report["checks"] if backend in check["pair"]]
    assert checks
    assert [check for check in checks if not check["passed"]] == []


@pytest.mark.parametrize("backend", TRAINING)
def test_a_slope_starts_and_decays_as_its_operation_says(extended: Path, backend: str) -> None:
    run(extended, "-m", "ranspec", "build", "small.yaml", "--backend", backend, "-o", backend)
    found = json.loads(run(extended, "-c", PROGRAM, backend).splitlines()[-1])
    expected = facts(extended, "small.yaml")
    assert found["slopes"] == expected["slopes"]
    assert sorted(found["kernels"]) == sorted(expected["decay"])


def test_a_setting_that_a_mask_ignores_is_an_error(extended: Path) -> None:
    command = "from ranspec.spec import load_spec; load_spec('small.yaml', [{!r}])"
    with pytest.raises(AssertionError, match="activation spatial means nothing to cbam masks"):
        run(extended, "-c", command.format("attention.activation=spatial"))


def test_a_slope_that_starts_elsewhere_is_caught(extended: Path) -> None:
    emitter = extended / "backends/ranspec_torch/emitter.py"
    right = emitter.read_text()
    emitter.write_text(right.replace("nn.PReLU(op.channels", "nn.PReLU(op.channels, init=0.0"))
    command = ["-m", "ranspec", "verify", "small.yaml", "--backend", "torch", "--steps", "1"]
    try:
        with pytest.raises(AssertionError, match=r"initial weights .* FAILED"):
            run(extended, *command)
    finally:
        emitter.write_text(right)
