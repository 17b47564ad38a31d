import numpy as np
import pytest

from ranspec.runtime.initialization import decayed, initial_weights

SHAPES = {
    "conv.weight": (64, 16, 3, 3),
    "fc.weight": (10, 64),
    "fc.bias": (10,),
    "norm.weight": (64,),
    "norm.bias": (64,),
    "norm.running_mean": (64,),
    "norm.running_var": (64,),
    "gate.scale": (),
}


def test_scales_and_variances_are_one_and_the_rest_is_zero() -> None:
    weights = initial_weights(0, SHAPES)
    assert all((weights[n] == 1).all() for n in ("norm.weight", "norm.running_var", "gate.scale"))
    assert all((weights[n] == 0).all() for n in ("fc.bias", "norm.bias", "norm.running_mean"))
    assert {name: array.shape for name, array in weights.items()} == SHAPES
    assert all(array.dtype == np.float64 for array in weights.values())


@pytest.mark.parametrize(("fan", "size"), [("in", 16 * 9), ("out", 64 * 9)])
def test_he_normal_has_the_deviation_of_its_fan(fan: str, size: int) -> None:
    weight = initial_weights(0, SHAPES, "he_normal", fan)["conv.weight"]
    assert weight.std() == pytest.approx((2 / size) ** 0.5, rel=0.02)


def test_normal_has_the_given_deviation() -> None:
    weight = initial_weights(0, SHAPES, "normal", deviation=0.3)["conv.weight"]
    assert weight.std() == pytest.approx(0.3, rel=0.02)


def test_a_tensor_does_not_depend_on_the_others() -> None:
    alone = initial_weights(5, {"fc.weight": (10, 64)})["fc.weight"]
    assert np.array_equal(alone, initial_weights(5, SHAPES)["fc.weight"])
    assert not np.array_equal(alone, initial_weights(6, SHAPES)["fc.weight"])


def test_weight_decay_applies_to_convolution_and_linear_weights_alone() -> None:
    chosen = {name for name, shape in SHAPES.items() if decayed(name, shape)}
    assert chosen == {"conv.weight", "fc.weight"}
