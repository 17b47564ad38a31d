import numpy as np
import pytest

from ranspec.runtime.initialization import draw_kernels

SHAPES = {"conv.weight": (64, 16, 3, 3), "fc.weight": (10, 64)}


@pytest.mark.parametrize(("fan", "size"), [("in", 16 * 9), ("out", 64 * 9)])
def test_he_normal_has_the_deviation_of_its_fan(fan: str, size: int) -> None:
    weight = draw_kernels(0, SHAPES, "he_normal", fan)["conv.weight"]
    assert weight.std() == pytest.approx((2 / size) ** 0.5, rel=0.02)


def test_normal_has_the_given_deviation() -> None:
    weight = draw_kernels(0, SHAPES, "normal", deviation=0.3)["conv.weight"]
    assert weight.std() == pytest.approx(0.3, rel=0.02)


def test_kernels_have_the_shapes_asked_for_in_float64() -> None:
    kernels = draw_kernels(0, SHAPES)
    assert {name: array.shape for name, array in kernels.items()} == SHAPES
    assert all(array.dtype == np.float64 for array in kernels.values())


def test_a_kernel_does_not_depend_on_the_others() -> None:
    alone = draw_kernels(5, {"fc.weight": (10, 64)})["fc.weight"]
    assert np.array_equal(alone, draw_kernels(5, SHAPES)["fc.weight"])
    assert not np.array_equal(alone, draw_kernels(6, SHAPES)["fc.weight"])


def test_an_unknown_distribution_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown distribution 'uniform'"):
        draw_kernels(0, SHAPES, "uniform")


def test_every_precision_starts_from_the_same_numbers() -> None:
    weight = draw_kernels(0, SHAPES)["conv.weight"]
    assert np.array_equal(weight, weight.astype(np.float32))
