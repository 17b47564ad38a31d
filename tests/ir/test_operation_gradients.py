"""The NumPy meaning of every operation: true gradients, inferred shapes, PyTorch's results."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranspec.ir import operations as ops
from ranspec.ir.dimension import Dimension
from ranspec.ir.operation import Operation, Padding

BATCH = 2
ROOT = str(Path(__file__).parents[2])


@dataclass(frozen=True)
class Case:
    """An operation and the sizes, height x width x channels, of its inputs."""

    operation: Operation
    inputs: tuple[tuple[int, ...], ...]
    training: bool = True

    def __str__(self) -> str:
        details = (
            f"{name}={value.value if isinstance(value, Dimension) else value}"
            for name, value in vars(self.operation).items()
        )
        sizes = " ".join("x".join(map(str, size)) for size in self.inputs)
        mode = "training" if self.training else "evaluation"
        return f"{self.operation.label}({', '.join(details)}) {sizes} {mode}"


def symmetric(padding: int) -> Padding:
    return (padding, padding), (padding, padding)


def convolution(
    inputs: tuple[int, int, int],
    channels: int,
    kernel: tuple[int, int],
    *,
    stride: int = 1,
    padding: Padding = ((0, 0), (0, 0)),
    groups: int = 1,
    bias: bool = False,
) -> Case:
    operation = ops.Convolution(
        in_channels=Dimension(inputs[2]),
        channels=Dimension(channels),
        kernel=kernel,
        stride=Dimension(stride),
        padding=padding,
        groups=Dimension(groups),
        bias=bias,
    )
    return Case(operation, (inputs,))


CONVOLUTIONS = [
    convolution((5, 4, 3), 4, (1, 1)),
    convolution((5, 4, 3), 4, (1, 1), stride=2, bias=True),
    convolution((6, 5, 4), 6, (3, 3), padding=symmetric(1), groups=2),
    convolution((6, 6, 4), 4, (3, 3), stride=2, padding=symmetric(1), groups=4, bias=True),
    convolution((7, 7, 2), 3, (3, 3), stride=2, padding=symmetric(1)),
    convolution((7, 6, 2), 3, (3, 3), stride=2),
    convolution((8, 7, 2), 2, (3, 3), stride=3, padding=symmetric(1)),
    convolution((9, 8, 2), 3, (7, 7), stride=2, padding=symmetric(3)),
    convolution((6, 7, 2), 3, (1, 5), padding=((0, 0), (2, 2))),
    convolution((6, 5, 2), 3, (2, 3), padding=((0, 1), (2, 0))),
]
POOLS = [
    Case(pool(kernel, stride, padding), ((height, width, 2),))
    for pool, padding, (kernel, stride), (height, width) in product(
        (ops.MaxPool, ops.AveragePool),
        ("ceil", "same", "valid", 0, 1),
        ((3, 2), (2, 2), (3, 1), (2, 3)),
        ((7, 8), (5, 6)),
    )
]
RESIZES = [
    Case(ops.Resize(interpolation, align_corners), ((*source, 2), (*target, 3)))
    for interpolation, align_corners, (source, target) in product(
        ("bilinear", "nearest"),
        (True, False),
        (
            ((4, 3), (8, 6)),
            ((4, 5), (7, 9)),
            ((1, 1), (3, 2)),
            ((3, 4), (1, 1)),
            ((4, 1), (4, 3)),
            ((5, 6), (3, 4)),
        ),
    )
]
MAP = (5, 4, 3)
OTHERS = [
    Case(ops.Add(), (MAP, MAP)),
    Case(ops.AddScalar(1.0), (MAP,)),
    Case(ops.BatchNorm(Dimension(3), 1e-5, 0.1), (MAP,)),
    Case(ops.BatchNorm(Dimension(3), 1e-5, 0.1), (MAP,), training=False),
    Case(ops.BatchNorm(Dimension(4), 1e-3, 0.01), ((4,),)),
    Case(ops.ChannelAffine(Dimension(3)), (MAP,)),
    Case(ops.ChannelNormalize(1e-6), (MAP,)),
    Case(ops.ChannelNormalize(1e-12, "least"), (MAP,)),
    Case(ops.ChannelNormalize(5.0, "least"), (MAP,)),
    Case(ops.ChannelStandardize(1e-5), (MAP,)),
    Case(ops.Concatenate(), (MAP, (5, 4, 1), (5, 4, 2))),
    Case(ops.Concatenate(), (MAP,)),
    Case(ops.Dropout(0.3), (MAP,)),
    Case(ops.Dropout(0.3), ((6,),), training=False),
    Case(ops.Flatten(), (MAP,)),
    Case(ops.Gate("residual"), (MAP, MAP)),
    Case(ops.Gate("naive"), (MAP, MAP)),
    Case(ops.Gate("residual"), ((5, 4, 1), MAP)),
    Case(ops.GlobalAveragePool(), (MAP,)),
    Case(ops.Linear(Dimension(5), Dimension(3), bias=True), ((5,),)),
    Case(ops.Linear(Dimension(5), Dimension(3), bias=False), ((5,),)),
    Case(ops.Multiply(), (MAP, MAP)),
    Case(ops.Multiply(), (MAP, (1, 1, 3))),
    Case(ops.Multiply(), ((5, 4, 1), (1, 1, 3))),
    Case(ops.PadChannels(Dimension(5)), (MAP,)),
    Case(ops.PadChannels(Dimension(3)), (MAP,)),
    Case(ops.Relu(), (MAP,)),
    Case(ops.Scale(-0.3), (MAP,)),
    Case(ops.Sigmoid(), (MAP,)),
    Case(ops.SpatialAffine(Dimension(5), Dimension(4)), (MAP,)),
    Case(ops.SpatialNormalize(1e-5), (MAP,)),
    Case(ops.Subsample(Dimension(2)), (MAP,)),
    Case(ops.Subsample(Dimension(3)), ((6, 7, 2),)),
    Case(ops.VectorToMap(), ((6,),)),
]
CASES = CONVOLUTIONS + POOLS + RESIZES + OTHERS

each_case = pytest.mark.parametrize("case", CASES, ids=str)


def random_inputs(case: Case) -> list[Any]:
    rng = np.random.default_rng(1)
    return [
        rng.normal(
            0.5, 1.5, (BATCH, *sizes[2:], *sizes[:2]) if len(sizes) == 3 else (BATCH, *sizes)
        )
        for sizes in case.inputs
    ]


def random_arrays(operation: Operation) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    return {
        name: rng.uniform(0.5, 2.0, [size.value for size in spec.shape])
        for name, spec in operation.parameters().items()
    }


def largest_error(found: Any, expected: Any) -> float:
    """Return the largest difference, relative to the largest value expected."""
    scale = max(float(np.abs(expected).max(initial=0.0)), 1e-30)
    return float(np.abs(np.asarray(found) - expected).max(initial=0.0)) / scale


def numerical_gradient(function: Callable[[], float], array: Any) -> Any:
    """Differentiate with respect to an array by central differences, in place."""
    step = 1e-5
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + step
        above = function()
        array[index] = kept - step
        gradient[index] = (above - function()) / (2 * step)
        array[index] = kept
    return gradient


def test_every_operation_has_a_case() -> None:
    assert {type(case.operation) for case in CASES} == set(ops.ALL)


@each_case
def test_backward_is_the_gradient_of_forward(case: Case) -> None:
    operation, inputs, arrays = case.operation, random_inputs(case), random_arrays(case.operation)
    output, saved = operation.forward(arrays, *inputs, training=case.training)
    weight = np.random.default_rng(3).normal(size=output.shape)
    by_input, by_array = operation.backward(arrays, saved, weight)

    def loss() -> float:
        return float((operation.forward(arrays, *inputs, training=case.training)[0] * weight).sum())

    for array, gradient in zip(inputs, by_input, strict=True):
        assert gradient.shape == array.shape
        assert largest_error(gradient, numerical_gradient(loss, array)) < 1e-6
    trainable = {name for name, spec in operation.parameters().items() if spec.trainable}
    assert set(by_array) == trainable
    for name, gradient in by_array.items():
        assert gradient.shape == arrays[name].shape
        assert largest_error(gradient, numerical_gradient(loss, arrays[name])) < 1e-6


@each_case
def test_inferred_shape_is_the_shape_computed(case: Case) -> None:
    inferred = case.operation.infer(
        *(tuple(Dimension(size) for size in sizes) for sizes in case.inputs)
    )
    output, _ = case.operation.forward(
        random_arrays(case.operation), *random_inputs(case), training=case.training
    )
    extent = tuple(size.value for size in inferred)
    assert output.shape == (BATCH, *extent[2:], *extent[:2])


@each_case
def test_single_precision_stays_single(case: Case) -> None:
    arrays = {
        name: array.astype(np.float32) for name, array in random_arrays(case.operation).items()
    }
    inputs = [array.astype(np.float32) for array in random_inputs(case)]
    output, saved = case.operation.forward(arrays, *inputs, training=case.training)
    by_input, by_array = case.operation.backward(arrays, saved, np.ones_like(output))
    statistics = case.operation.updated_statistics(arrays, saved)
    computed = [output, *by_input, *by_array.values(), *statistics.values()]
    assert {array.dtype for array in computed} == {np.dtype(np.float32)}


@each_case
def test_statistics_are_those_that_are_not_trained(case: Case) -> None:
    arrays = random_arrays(case.operation)
    _, saved = case.operation.forward(arrays, *random_inputs(case), training=case.training)
    updated = case.operation.updated_statistics(arrays, saved)
    kept = {name for name, spec in case.operation.parameters().items() if not spec.trainable}
    assert set(updated) == (kept if case.training else set())


def test_describing_operations_needs_no_numpy() -> None:
    program = "import sys, ranspec.ir.operations; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": ROOT}).returncode == 0


def test_max_pool_gives_the_gradient_to_the_first_maximum() -> None:
    pool = ops.MaxPool(3, 2, "same")
    output, saved = pool.forward({}, np.zeros((1, 1, 5, 5)), training=True)
    (gradient,), _ = pool.backward({}, saved, np.ones_like(output))
    expected = np.zeros((5, 5))
    expected[np.ix_([0, 1, 3], [0, 1, 3])] = 1
    np.testing.assert_array_equal(gradient[0, 0], expected)


def test_max_pool_never_takes_the_padding() -> None:
    output, _ = ops.MaxPool(3, 2, "same").forward({}, np.full((1, 1, 4, 4), -2.0), training=True)
    np.testing.assert_array_equal(output, np.full((1, 1, 2, 2), -2.0))


def test_same_pool_puts_the_odd_padding_after() -> None:
    column = np.arange(4.0).reshape(1, 1, 4, 1)
    output, _ = ops.MaxPool(3, 2, "same").forward({}, column, training=True)
    np.testing.assert_array_equal(output.ravel(), [2.0, 3.0])


def test_average_pool_leaves_the_padding_out() -> None:
    output, _ = ops.AveragePool(3, 2, "same").forward({}, np.ones((1, 1, 5, 4)), training=True)
    np.testing.assert_array_equal(output, np.ones((1, 1, 3, 2)))


def test_sigmoid_saturates_without_overflow() -> None:
    output, _ = ops.Sigmoid().forward({}, np.array([[-1e4, 0.0, 1e4]]), training=True)
    np.testing.assert_array_equal(output, [[0.0, 0.5, 1.0]])


def test_relu_has_no_gradient_at_zero() -> None:
    relu = ops.Relu()
    _, saved = relu.forward({}, np.array([[-1.0, 0.0, 1.0]]), training=True)
    (gradient,), _ = relu.backward({}, saved, np.ones((1, 3)))
    np.testing.assert_array_equal(gradient, [[0.0, 0.0, 1.0]])


def test_attention_normalisations_are_finite_at_zero() -> None:
    x = np.zeros((1, 2, 3, 3))
    for operation in (ops.ChannelNormalize(1e-6), ops.SpatialNormalize(1e-5)):
        output, saved = operation.forward({}, x, training=True)
        (gradient,), _ = operation.backward({}, saved, np.ones_like(x))
        assert np.isfinite(output).all()
        assert np.isfinite(gradient).all()


def test_batch_norm_of_one_value_keeps_its_statistics_finite() -> None:
    norm = ops.BatchNorm(Dimension(2), 1e-5, 0.1)
    arrays = random_arrays(norm)
    _, saved = norm.forward(arrays, np.ones((1, 2, 1, 1)), training=True)
    updated = norm.updated_statistics(arrays, saved)
    np.testing.assert_allclose(updated["running_var"], 0.9 * arrays["running_var"])


Tensor = Any
Function = Callable[..., Tensor]


def torch_function(operation: Operation, arrays: Mapping[str, Tensor], training: bool) -> Function:
    """Return an operation as PyTorch's own functions compute it."""
    import torch
    import torch.nn.functional as F

    match operation:
        case ops.Convolution(padding=((top, bottom), (left, right))):
            return lambda x: F.conv2d(
                F.pad(x, (left, right, top, bottom)),
                arrays["weight"],
                arrays.get("bias"),
                stride=operation.stride.value,
                groups=operation.groups.value,
            )
        case ops.Linear():
            return lambda x: F.linear(x, arrays["weight"], arrays.get("bias"))
        case ops.Relu():
            return F.relu
        case ops.Sigmoid():
            return torch.sigmoid
        case ops.AddScalar(value=value):
            return lambda x: x + value
        case ops.Scale(factor=factor):
            return lambda x: x * factor
        case ops.Dropout():
            return lambda x: F.dropout(x, 0.0)
        case ops.Add():
            return torch.add
        case ops.Multiply():
            return torch.mul
        case ops.Gate(learning=learning):
            return lambda mask, trunk: (mask + (learning == "residual")) * trunk
        case ops.VectorToMap():
            return lambda x: x[:, :, None, None]
        case ops.BatchNorm():
            return lambda x: F.batch_norm(
                x,
                arrays["running_mean"],
                arrays["running_var"],
                arrays["weight"],
                arrays["bias"],
                training,
                operation.momentum,
                operation.epsilon,
            )
        case ops.ChannelAffine():
            return lambda x: x * arrays["scale"][:, None, None] + arrays["shift"][:, None, None]
        case ops.ChannelNormalize(epsilon=epsilon, epsilon_use="least"):
            return lambda x: x / (x * x).sum(1, keepdim=True).clamp(min=epsilon).sqrt()
        case ops.ChannelNormalize(epsilon=epsilon):
            return lambda x: x * torch.rsqrt((x * x).sum(1, keepdim=True) + epsilon)
        case ops.SpatialNormalize(epsilon=epsilon):
            return lambda x: F.instance_norm(x, eps=epsilon)
        case ops.ChannelStandardize(epsilon=epsilon):
            return lambda x: F.layer_norm(x.movedim(1, -1), x.shape[1:2], eps=epsilon).movedim(
                -1, 1
            )
        case ops.SpatialAffine():
            return lambda x: torch.addcmul(arrays["shift"], arrays["scale"], x)
        case ops.MaxPool() | ops.AveragePool():
            return torch_pool(operation)
        case ops.GlobalAveragePool():
            return lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1)
        case ops.Resize(interpolation="nearest"):
            return lambda x, y: F.interpolate(x, size=y.shape[2:], mode="nearest")
        case ops.Resize(align_corners=align_corners):
            return lambda x, y: F.interpolate(
                x, size=y.shape[2:], mode="bilinear", align_corners=align_corners
            )
        case ops.Concatenate():
            return lambda *xs: torch.cat(xs, 1)
        case ops.Flatten():
            return lambda x: x.flatten(1)
        case ops.PadChannels(channels=channels):
            return lambda x: F.pad(x, (0, 0, 0, 0, 0, channels.value - x.shape[1]))
        case ops.Subsample(stride=stride):
            return lambda x: x[:, :, :: stride.value, :: stride.value]
    raise NotImplementedError(operation.label)


def torch_pool(operation: ops.MaxPool | ops.AveragePool) -> Function:
    import torch
    import torch.nn.functional as F

    window = {"kernel_size": operation.kernel, "stride": operation.stride}
    if isinstance(operation.padding, int):
        window["padding"] = operation.padding

    def pad(x: Tensor, value: float) -> Tensor:
        rows, columns = (operation.margins(size) for size in x.shape[2:])
        return F.pad(x, (*columns, *rows), value=value)

    match operation:
        case ops.MaxPool(padding="same"):
            return lambda x: F.max_pool2d(pad(x, float("-inf")), **window)
        case ops.MaxPool():
            return lambda x: F.max_pool2d(x, **window, ceil_mode=operation.padding == "ceil")
        case ops.AveragePool(padding="same"):
            return lambda x: (
                F.avg_pool2d(pad(x, 0.0), **window)
                / F.avg_pool2d(pad(torch.ones_like(x), 0.0), **window)
            )
        case _:
            return lambda x: F.avg_pool2d(
                x, **window, ceil_mode=operation.padding == "ceil", count_include_pad=False
            )


@each_case
def test_agrees_with_torch(case: Case) -> None:
    torch = pytest.importorskip("torch")
    operation, inputs, arrays = case.operation, random_inputs(case), random_arrays(case.operation)
    output, saved = operation.forward(arrays, *inputs, training=case.training)
    weight = np.random.default_rng(3).normal(size=output.shape)
    by_input, by_array = operation.backward(arrays, saved, weight)

    def tensor(array: Any, trainable: bool = True) -> Tensor:
        return torch.tensor(array, requires_grad=trainable)

    specs = operation.parameters()
    torch_inputs = [tensor(array) for array in inputs]
    torch_arrays = {name: tensor(array, specs[name].trainable) for name, array in arrays.items()}
    torch_output = torch_function(operation, torch_arrays, case.training)(*torch_inputs)
    torch_output.backward(torch.tensor(weight))

    assert largest_error(output, torch_output.detach().numpy()) < 1e-12
    for found, leaf in zip(by_input, torch_inputs, strict=True):
        expected = np.zeros(found.shape) if leaf.grad is None else leaf.grad.numpy()
        assert largest_error(found, expected) < 1e-12
    for name, found in by_array.items():
        assert largest_error(found, torch_arrays[name].grad.numpy()) < 1e-12
    for name, found in operation.updated_statistics(arrays, saved).items():
        assert largest_error(found, torch_arrays[name].numpy()) < 1e-12
