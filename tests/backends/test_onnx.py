"""ONNX models are the networks that the NumPy reference evaluates, and hold what they promise.

Deep and wide networks have their repetitions cut here; where the environment says EXHAUSTIVE
(`make exhaustive`) every network is whole.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ranspec.analysis.interpreter import forward, linearize
from ranspec.cli.app import app
from ranspec.codegen import backend as protocol
from ranspec.codegen.backend import (
    NotInstalledError,
    Request,
    UnsupportedError,
    Weights,
    load_backend,
)
from ranspec.codegen.render import render_files
from ranspec.compile import compile_spec
from ranspec.ir import operations as ops
from ranspec.ir.graph import Graph
from ranspec.runtime.checkpoint import load, save
from ranspec.spec import LoadedSpec, SpecError, load_spec, packaged_specs
from ranspec.verify import processes
from ranspec.verify.experiment import BRANCH_SCALE, experiment, random_state
from ranspec.verify.harness import verify
from ranspec.verify.probe import EVALUATION_LOGITS
from ranspec.verify.processes import BackendError, run_jobs, write_job
from tests.ir.test_operation_gradients import CASES, Case, random_arrays, random_inputs
from tests.rendering import ROOT, SPECS
from tests.verify.networks import NETWORKS

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from ranspec_onnx import BACKEND  # noqa: E402
from ranspec_onnx.body import Site  # noqa: E402
from ranspec_onnx.model import (  # noqa: E402
    BATCH,
    IMAGES,
    IR_VERSION,
    LOGITS,
    OPSET,
    layers,
    node_proto,
    write_model,
)
from ranspec_onnx.probe import evaluate, with_layers  # noqa: E402

EXHAUSTIVE = bool(os.environ.get("EXHAUSTIVE"))
TOLERANCES = {"float32": 1e-5, "float64": 1e-11}
CHEAP = 3_000_000
"""Networks with fewer parameters, and not very deep, are never cut."""

Array = np.ndarray[Any, Any]


def cut(path: Path, narrower: int) -> LoadedSpec:
    """Load a spec with at most two units and one module in a row, each branch of one unit.

    Channels of stages are divided by `narrower`.
    """
    whole = load_spec(path).spec
    changes = [
        f"stages.{name}.{key}={most}"
        for name, stage in whole.stages.items()
        for key, most in {"units": 2, "units_after": 1, "modules": 1}.items()
        if getattr(stage, key) > most
    ]
    changes += [
        f"stages.{name}.channels={stage.channels // narrower}"
        for name, stage in whole.stages.items()
    ]
    changes += [f"attention.{key}=1" for key in "ptr" if getattr(whole.attention, key) > 1]
    return load_spec(path, changes)


def smallest(loaded: LoadedSpec) -> Graph:
    """Compile a spec for the smallest square images that it can take."""
    for size in range(1, loaded.spec.input.height + 1):
        try:
            return compile_spec(loaded, input_size=(size, size))
        except SpecError:
            continue
    return compile_spec(loaded)


def network_of(spec: str) -> Graph:
    """Return the network of a spec, as large as is cheap to test."""
    path = packaged_specs() / f"{spec}.yaml"
    graph = smallest(load_spec(path))
    cheap = sum(np.prod(tensor.shape) for tensor in graph.tensors.values()) < CHEAP
    if EXHAUSTIVE or (cheap and len(graph.layers) < 1000):
        return graph
    try:
        return smallest(cut(path, narrower=4))
    except SpecError:
        return smallest(cut(path, narrower=1))


def steadied(graph: Graph, images: Array) -> dict[str, Array]:
    """Draw a state whose statistics are near the network's own on these images.

    Else activations grow from layer to layer, and rounding with them: residual branches are small
    for the same reason, as where backends are verified.
    """
    state = random_state(graph, 0, BRANCH_SCALE)
    saved = forward(graph, state, images, training=True).saved
    for item in linearize(graph):
        if isinstance(item.operation, ops.BatchNorm):
            mean, variance = saved[item.output].moments
            state[f"{item.path}.running_mean"] = 0.9 * mean
            state[f"{item.path}.running_var"] = variance + 1
    return state


MEASURED: dict[str, dict[str, float]] = {}
"""Errors by network: specs that differ in classes and recipe alone are measured once."""


def errors(graph: Graph) -> dict[str, float]:
    """Return the logits' relative error in each precision, of a model that ONNX accepts."""
    layers = [(layer.path, repr(layer.operation), layer.output) for layer in graph.layers[:-1]]
    key = repr((layers, [tensor.shape for tensor in graph.tensors.values()][:-2]))
    if key not in MEASURED:
        height, width, channels = graph.input
        images = np.random.default_rng(0).standard_normal((2, channels, height, width))
        state = steadied(graph, images)
        expected = forward(graph, state, images, training=False).output
        MEASURED[key] = {}
        for dtype in TOLERANCES:
            model = write_model(graph, BACKEND, state, {}, double=dtype == "float64")
            onnx.checker.check_model(model, full_check=dtype == "float32")
            logits = evaluate(model, {LOGITS: LOGITS}, {IMAGES: images.astype(dtype)})[LOGITS]
            assert logits.dtype == dtype
            error = np.abs(logits - expected).max() / np.abs(expected).max()
            MEASURED[key][dtype] = float(error)
    return MEASURED[key]


@pytest.mark.parametrize("spec", SPECS)
def test_every_network_is_the_reference(spec: str) -> None:
    for dtype, error in errors(network_of(spec)).items():
        assert error <= TOLERANCES[dtype], dtype


@pytest.mark.parametrize("name", NETWORKS)
def test_every_choice_of_the_language_is_the_reference(name: str) -> None:
    for dtype, error in errors(compile_spec(NETWORKS[name].load())).items():
        assert error <= TOLERANCES[dtype], dtype


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_operation_is_the_reference(case: Case, dtype: str) -> None:
    inputs = [image.astype(dtype) for image in random_inputs(case)]
    arrays = {leaf: array.astype(dtype) for leaf, array in random_arrays(case.operation).items()}
    expected, _ = case.operation.forward(arrays, *inputs, training=False)
    site = Site("layer", "layer", "y", case.inputs, double=dtype == "float64")
    names = [f"x{position}" for position in range(len(inputs))]
    BACKEND.writer(case.operation, "a test")(case.operation, site, *names)
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def described(name: str, array: Array) -> Any:
        return onnx.helper.make_tensor_value_info(name, kind, array.shape)

    graph = onnx.helper.make_graph(
        [node_proto(node) for node in site.nodes],
        "operation",
        [described(name, array) for name, array in zip(names, inputs, strict=True)],
        [described("y", expected)],
        [onnx.numpy_helper.from_array(array, f"layer.{leaf}") for leaf, array in arrays.items()],
    )
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    found = evaluate(model, {"y": "y"}, dict(zip(names, inputs, strict=True)))["y"]
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(found, expected, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype])


DIGITS = packaged_specs() / "attention_digits.yaml"


@cache
def digits() -> tuple[LoadedSpec, Graph, Any]:
    """Return a spec, its network, and the model that a build of it holds."""
    loaded = load_spec(DIGITS)
    return loaded, compile_spec(loaded), onnx.load_from_string(files(loaded)["model.onnx"])


def files(loaded: LoadedSpec, weights: Weights | None = None) -> Mapping[str, Any]:
    return render_files(loaded, BACKEND, weights=weights)


def test_a_build_holds_one_model_and_what_tells_of_it() -> None:
    built = files(digits()[0])
    assert {"model.onnx", "README.md", ".ranspec.json"} <= set(built)
    assert not [name for name in built if name.endswith((".py", ".txt"))]
    assert "train.py" not in built["README.md"]
    assert "initial weights, seed 0" in built["README.md"]


def test_classes_are_functions_and_arrays_have_canonical_names() -> None:
    _, graph, model = digits()
    assert [function.name for function in model.functions] == [
        definition.class_name for definition in graph.definitions[:-1]
    ]
    assert {array.name: tuple(array.dims) for array in model.graph.initializer} == {
        name: tensor.shape for name, tensor in graph.tensors.items()
    }
    assert [node.name for node in model.graph.node][:2] == ["stem", "stage1.0"]


def test_what_differs_between_instances_is_an_attribute() -> None:
    _, _, model = digits()
    (unit,) = (f for f in model.functions if f.name == "ProjectionBottleneck")
    assert set(unit.attribute) == {"shortcut_strides", "conv2_strides"}
    strides = {
        onnx.helper.get_node_attr_value(node, "conv2_strides")[0]
        for node in model.graph.node
        if node.op_type == "ProjectionBottleneck"
    }
    assert strides == {1, 2}


def test_the_model_says_what_it_is() -> None:
    loaded, _, model = digits()
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties == {
        "ranspec.spec": "attention_digits",
        "ranspec.spec_sha256": loaded.digest,
        "ranspec.source": loaded.spec.source,
        "ranspec.weights": "initial weights, seed 0",
    }
    assert (model.ir_version, model.opset_import[0].version) == (10, 20)
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == BATCH


@pytest.mark.parametrize("count", [1, 3])
def test_a_batch_has_any_size(count: int) -> None:
    _, _, model = digits()
    images = np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)
    together = evaluate(model, {LOGITS: LOGITS}, {IMAGES: images})[LOGITS]
    alone = evaluate(model, {LOGITS: LOGITS}, {IMAGES: images[:count]})[LOGITS]
    np.testing.assert_allclose(alone, together[:count], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_every_layer_can_be_observed(dtype: str) -> None:
    run = experiment(load_spec(DIGITS), dtype=dtype, steps=1)
    images = run.batches.images[0].astype(dtype)
    model = write_model(run.graph, BACKEND, run.state, {}, double=dtype == "float64")
    seen = evaluate(*with_layers(model), {IMAGES: images})
    expected = forward(run.graph, run.state, images.astype(np.float64), training=False).layers
    assert set(seen) == {*expected, LOGITS}
    for path, output in expected.items():
        error = np.abs(seen[path] - output).max() / np.abs(output).max()
        assert error <= 100 * TOLERANCES[dtype], path


def test_paths_of_nodes_are_those_of_the_layers() -> None:
    _, graph, model = digits()
    found = [path for path, node in layers(model) if "." not in node.name]
    assert found == [*(layer.path for layer in graph.layers), ""]


BUILD = """
import hashlib
from ranspec.codegen.backend import load_backend
from ranspec.codegen.render import render_files
from ranspec.spec import load_spec, packaged_specs
built = render_files(load_spec(packaged_specs() / "attention_digits.yaml"), load_backend("onnx"))
print(hashlib.sha256(built["model.onnx"]).hexdigest())
"""


def test_a_model_is_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    environment = os.environ | {
        "PYTHONHASHSEED": "77",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'backends'}",
    }
    command = [sys.executable, "-c", BUILD]
    other = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert other.strip() == hashlib.sha256(files(digits()[0])["model.onnx"]).hexdigest()


def test_a_library_that_is_not_installed_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(protocol, "find_spec", lambda name: None)
    with pytest.raises(NotInstalledError, match=r"onnx.*pip install 'ranspec\[onnx\]'"):
        files(digits()[0])
    result = build("--all-backends", "-o", tmp_path)
    assert result.exit_code == 0
    assert result.stderr.startswith("left out: ONNX needs onnx, not installed here")
    assert "torch" in {path.name for path in tmp_path.iterdir()} - {"onnx"}


def test_an_operation_that_it_lacks_is_told() -> None:
    loaded, _, _ = digits()
    known = {kind: write for kind, write in BACKEND.operations.items() if kind is not ops.Relu}
    lacking = replace(BACKEND, operations=known)
    with pytest.raises(UnsupportedError, match=r"ONNX has no Relu, used by \w+\.relu1"):
        render_files(loaded, lacking)


def test_weights_that_one_file_cannot_hold_are_refused() -> None:
    loaded, graph, _ = digits()
    huge = np.broadcast_to(np.float32(0), (1 << 29,))
    request = Request(loaded, graph, Weights({"a": huge}, "none"), "float32", {})
    with pytest.raises(UnsupportedError, match=r"take 2\.0 GiB; one ONNX file holds less than 2"):
        BACKEND.write(request)


def test_code_that_loads_its_weights_itself_takes_none() -> None:
    loaded, _, _ = digits()
    with pytest.raises(UnsupportedError, match="PyTorch code holds no weights"):
        render_files(loaded, load_backend("torch"), weights=Weights({}, "none"))


# A trained checkpoint, written into a model.


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Array, Array]:
    """A checkpoint that PyTorch code wrote after two steps more, images, and its logits of them."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("trained")
    run = experiment(load_spec(DIGITS), dtype="float32", steps=2)
    torch = load_backend("torch")
    first = write_job(folder / "first", run, torch)
    second = write_job(folder / "second", run, torch, start=Path(first.saved))
    _, measured = run_jobs(torch, [first, second], folder, timeout=300)
    assert not isinstance(measured, BackendError), measured
    return Path(first.saved), run.batches.images[0], measured[EVALUATION_LOGITS]


def build(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["build", str(DIGITS), *map(str, arguments)])


def test_an_export_gives_the_logits_of_the_framework_that_trained_it(
    trained: tuple[Path, Array, Array], tmp_path: Path
) -> None:
    checkpoint, images, expected = trained
    result = build("--backend", "onnx", "--weights", checkpoint, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    model = onnx.load(tmp_path / "out" / "model.onnx")
    logits = evaluate(model, {LOGITS: LOGITS}, {IMAGES: images.astype(np.float32)})[LOGITS]
    error = np.abs(logits - expected).max() / np.abs(expected).max()
    assert error <= TOLERANCES["float32"]
    (origin,) = (entry.value for entry in model.metadata_props if entry.key == "ranspec.weights")
    _, manifest = load(checkpoint)
    assert re.fullmatch(f"weights after {manifest.step} steps, SHA-256 [0-9a-f]{{64}}", origin)
    assert origin in (tmp_path / "out" / "README.md").read_text()
    again = ("--backend", "onnx", "--weights", checkpoint, "-o", tmp_path / "out", "--check")
    assert build(*again).exit_code == 0


def refusal(*arguments: str | Path) -> str:
    result = build(*arguments)
    assert result.exit_code == 2
    return str(result.stderr)


def test_a_checkpoint_that_does_not_fit_is_refused_in_words(
    trained: tuple[Path, Array, Array], tmp_path: Path
) -> None:
    checkpoint, _, _ = trained
    tensors, manifest = load(checkpoint)
    paths = {name: tmp_path / f"{name}.safetensors" for name in ("damaged", "other", "lacking")}
    content = bytearray(checkpoint.read_bytes())
    content[-1] ^= 1
    paths["damaged"].write_bytes(content)
    save(paths["other"], tensors, replace(manifest, network="other"))
    (*_, lacking) = digits()[1].tensors
    del tensors[lacking]
    save(paths["lacking"], tensors, manifest)
    told = {
        "absent": "no such file",
        "damaged": "damaged",
        "other": "a checkpoint of other, not of attention_digits",
        "lacking": f"tensor {lacking} is missing",
    }
    for name, message in told.items():
        path = paths.get(name, tmp_path / "absent")
        refused = refusal("--backend", "onnx", "--weights", path, "-o", tmp_path / "out")
        assert refused.startswith(f"error: {path}: {message}")
    refused = refusal("--backend", "torch", "--weights", checkpoint, "-o", tmp_path / "out")
    assert refused.startswith("error: PyTorch code holds no weights")
    assert not (tmp_path / "out").exists()


def test_a_backend_that_only_infers_is_not_trained() -> None:
    result = CliRunner().invoke(app, ["train", str(DIGITS), "--backend", "onnx"])
    assert (result.exit_code, result.stderr) == (
        2,
        "error: ONNX only infers; train with another backend\n",
    )


# Verification.


def test_verification_asks_for_what_it_can_do() -> None:
    report = verify(load_spec(DIGITS), ["onnx"], steps=1)
    assert report.passed
    assert [(check.quantity, check.pair) for check in report.checks] == [
        ("logits, evaluation", ("onnx", "numpy"))
    ]
    assert report.to_json()["inference_only"] == ["onnx"]


def test_a_fault_is_found_and_its_layer_named(monkeypatch: pytest.MonkeyPatch) -> None:
    written = processes.built

    def faulty(*arguments: Any) -> Mapping[str, Any]:
        files = dict(written(*arguments))
        model = onnx.load_from_string(files["model.onnx"])
        (unit,) = (f for f in model.functions if f.name == "PreactivationBottleneck")
        (convolution,) = (node for node in unit.node if node.name == "conv2")
        (pads,) = (attribute for attribute in convolution.attribute if attribute.name == "pads")
        pads.ints[:] = [2, 1, 0, 1]
        return files | {"model.onnx": model.SerializeToString()}

    monkeypatch.setattr(processes, "built", faulty)
    report = verify(load_spec(DIGITS), ["onnx"], steps=1)
    assert not report.passed
    (parting,) = report.partings
    assert parting.direction == "forward"
    assert parting.layer == "stage1.1.before.conv2"
