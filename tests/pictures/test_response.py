"""Responses of stages are those of PyTorch's modules."""

from __future__ import annotations

import numpy as np
import pytest

from ranspec.pictures import response
from ranspec.pictures.response import mean_absolute_response, stages
from tests.pictures.conftest import Sample


def test_they_are_those_of_the_stages_outputs_in_pytorch(sample: Sample, dtype: str) -> None:
    found = mean_absolute_response(sample.graph, sample.weights, sample.images)
    assert tuple(found) == stages(sample.graph) == tuple(sample.loaded.spec.stages)
    for stage, value in found.items():
        expected = np.abs(sample.torch[stage].astype("float64")).mean()
        assert value == pytest.approx(expected, rel=1e-5 if dtype == "float32" else 1e-12)


def test_they_do_not_depend_on_how_many_images_are_evaluated_at_once(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = mean_absolute_response(sample.graph, sample.weights, sample.images)
    monkeypatch.setattr(response, "PIXELS", 1)
    assert mean_absolute_response(sample.graph, sample.weights, sample.images) == pytest.approx(
        together, rel=1e-5
    )
