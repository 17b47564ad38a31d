"""The blocks have the structure that the paper and its released files describe."""

from __future__ import annotations

import pytest

from ranspec.compile import compile_spec
from ranspec.ir.graph import Graph
from ranspec.ir.operations import Gate
from ranspec.spec import SpecError, load_spec, packaged_specs


def compiled(*overrides: str, spec: str = "attention56_cifar") -> Graph:
    return compile_spec(load_spec(spec, overrides, search=[packaged_specs()]))


def paths(graph: Graph, prefix: str) -> list[str]:
    return [
        layer.path.removeprefix(prefix) for layer in graph.layers if layer.path.startswith(prefix)
    ]


def members(graph: Graph, prefix: str) -> list[str]:
    """Return the distinct first parts of the paths below a block."""
    return list(dict.fromkeys(path.partition(".")[0] for path in paths(graph, prefix)))


def test_a_stage_is_units_then_modules_then_units() -> None:
    graph = compiled("stages.stage1.modules=2", "stages.stage1.units_after=1")
    assert members(graph, "stage1.") == ["0", "1", "2", "3"]
    assert "stage1.1.mask.conv1" in {layer.path for layer in graph.layers}


@pytest.mark.parametrize(("depth", "skips"), [(1, 0), (2, 1), (3, 2)])
def test_a_mask_of_any_depth_returns_to_its_size(depth: int, skips: int) -> None:
    graph = compiled(f"stages.stage1.mask_depth={depth}")
    names = members(graph, "stage1.1.mask.")
    assert sum(name.startswith("resize") for name in names) == depth
    assert sum(name.startswith("max_pool") for name in names) == depth
    assert sum(name.startswith("skip") for name in names) == skips
    sizes = {layer.path: layer.output for layer in graph.layers}
    assert sizes[f"stage1.1.mask.resize{depth}"] == (32, 32, 64)


def test_p_t_and_r_count_units() -> None:
    graph = compiled("attention.p=2", "attention.t=4", "attention.r=3")
    module = "stage3.1."
    assert members(graph, f"{module}before.") == ["0", "1"]
    assert members(graph, f"{module}trunk.") == ["0", "1", "2", "3"]
    assert members(graph, f"{module}mask.down1.") == ["0", "1", "2"]
    assert members(graph, f"{module}after.") == ["0", "1"]


def test_units_after_the_fusion_can_be_counted_apart() -> None:
    module = "stage3.1."
    graph = compiled("attention.p=2", "attention.p_after=0")
    assert members(graph, f"{module}before.") == ["0", "1"]
    assert members(graph, f"{module}after.") == []


def test_a_mask_can_take_the_trunk_and_its_own_levels() -> None:
    graph = compiled("attention.mask={skip_identity: true, add_trunk: true}")
    names = members(graph, "stage1.1.mask.")
    assert names.index("add5") < names.index("norm1")
    assert graph.tensors.keys() == compiled().tensors.keys()


def test_a_stage_can_begin_without_preactivation() -> None:
    graph = compiled("stages.stage1.first_preactivation=false")
    assert paths(graph, "stage1.0.")[:2] == ["shortcut", "conv1"]
    assert paths(graph, "stage2.0.")[:2] == ["norm1", "relu1"]


def test_a_bottleneck_strides_where_it_is_told() -> None:
    for where, size in (("conv1", (16, 16, 32)), ("conv2", (32, 32, 32))):
        graph = compiled(f"unit.stride_on={where}")
        sizes = {layer.path: layer.output for layer in graph.layers}
        assert sizes["stage2.0.conv1"] == size
        assert sizes["stage2.0.conv2"] == (16, 16, 32)


def test_a_head_can_activate_without_batch_norm() -> None:
    graph = compiled("head={normalization: false, activation: true}")
    assert paths(graph, "head.") == ["relu1", "global_average_pool1", "classifier"]


@pytest.mark.parametrize(
    ("normalization", "label"),
    [("{affine: channel}", "channel_affine"), ("{affine: position}", "spatial_affine")],
)
def test_normalised_activations_can_have_a_learned_scale(normalization: str, label: str) -> None:
    graph = compiled("attention.activation=spatial", f"attention.normalization={normalization}")
    labels = [x.operation.label for x in graph.layers if x.path.startswith("stage1.1.mask.")]
    assert labels[-3:] == ["spatial_normalize", label, "sigmoid"]


@pytest.mark.parametrize("learning", ["residual", "naive"])
def test_a_mask_weights_its_trunk_as_asked(learning: str) -> None:
    layers = compiled(f"attention.learning={learning}").layers
    gates = [layer.operation for layer in layers if isinstance(layer.operation, Gate)]
    assert [gate.learning for gate in gates] == [learning] * 3


@pytest.mark.parametrize(
    ("activation", "last"),
    [("mixed", "sigmoid"), ("channel", "channel_normalize"), ("spatial", "sigmoid")],
)
def test_a_mask_ends_in_its_activation(activation: str, last: str) -> None:
    graph = compiled(f"attention.activation={activation}")
    labels = [
        layer.operation.label for layer in graph.layers if layer.path.startswith("stage1.1.mask.")
    ]
    assert labels[-1] == last
    assert ("spatial_normalize" in labels) == (activation == "spatial")


def test_a_local_mask_neither_pools_nor_interpolates() -> None:
    graph = compiled(spec="attention56_localconv_cifar")
    labels = {layer.operation.label for layer in graph.layers}
    assert labels.isdisjoint({"max_pool", "resize"})


def test_the_activated_input_is_what_a_shortcut_projects() -> None:
    graph = compiled()
    assert paths(graph, "stage1.0.")[:3] == ["norm1", "relu1", "shortcut"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.stage1.mask_depth=6", r"stages\.stage1.*can be pooled 5 times, not 6 times"),
        ("stages.stage1.channels=66", r"unit\.reduction.*66 channels are not divisible"),
        (
            "attention.normalization={affine: channel}",
            "normalization means nothing to the mixed activation",
        ),
        ("head.activation=true", "normalization has a ReLU already"),
        (
            "stages.stage1={units: 0, first_preactivation: false}",
            "the stage begins with an attention module; only a pre-activation unit can go without",
        ),
        ("parameter_limit=1000", "raise parameter_limit if it is meant"),
    ],
)
def test_impossible_networks_are_told_with_the_setting_at_fault(
    override: str, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        compiled(override)


@pytest.mark.parametrize(
    ("size", "depth", "message"),
    [
        (3, 2, "a 3x3 map can be pooled once, not twice"),
        (1, 1, "a 1x1 map cannot be pooled"),
    ],
)
def test_a_map_that_is_too_small_to_be_pooled_is_told(size: int, depth: int, message: str) -> None:
    sizes = (f"input.height={size}", f"input.width={size}")
    with pytest.raises(SpecError, match=f"mask_depth: {message}"):
        compiled(*sizes, f"stages.stage1.mask_depth={depth}")
