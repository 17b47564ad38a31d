"""What plans say of networks, whole."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from typer.testing import CliRunner

from ranspec.analysis.count import count
from ranspec.cli.app import app
from ranspec.compile import network_settings, trace_spec
from ranspec.ir.builder import NetworkSettings, Tracer
from ranspec.planning.devices import Device, DeviceError, table
from ranspec.planning.plan import Plan, PlanError, plan_training
from ranspec.planning.roofline import Roofline, layer_time
from ranspec.planning.work import LayerWork, Work
from ranspec.spec import LoadedSpec, available_specs, load_spec, packaged_specs
from tests import scaling

SPECS = available_specs((packaged_specs(),))
TRACERS: dict[NetworkSettings, Tracer] = {}
"""What was traced of one network serves the others."""


@pytest.fixture(scope="module")
def loaded() -> LoadedSpec:
    return load_spec("attention56_cifar")


@pytest.fixture(scope="module")
def device() -> Device:
    return table()["a100-80"]


@pytest.fixture(scope="module")
def plan(loaded: LoadedSpec, device: Device) -> Plan:
    return plan_training(loaded, device)[0]


def test_a_layer_takes_as_long_as_its_arithmetic_or_its_traffic(device: Device, plan: Plan) -> None:
    software = plan.software.model_copy(
        update={"bandwidth": 1.0, "arithmetic": 0.5, "start": 1e-6, "slowness": {}}
    )
    roofline = Roofline(device, software, "float32")
    layer = LayerWork("x", "convolution", 64, 1, Work(10**9, 10**5, 10**6), Work(10, 10**6), True)
    time = layer_time(layer, 8, roofline)
    assert time.forward == pytest.approx(8e9 / (19.5e12 / 2) + 1e-6)
    assert time.backward == pytest.approx(8 * 4e6 / 2039e9 + 1e-6)
    assert (time.flops, time.bytes) == (8 * (10**9 + 10), 4 * (8 * 11 * 10**5 + 10**6))
    assert time.bound == "arithmetic"


def test_a_slow_kind_takes_longer_in_proportion(device: Device, plan: Plan) -> None:
    slow = plan.software.model_copy(
        update={"slowness": {"convolution": ((64, 3.0),)}, "start": 0.0}
    )
    layer = LayerWork("x", "convolution", 64, 1, Work(10**9, 10**5), Work(10**9, 10**5), True)
    fast = slow.model_copy(update={"slowness": {}})
    times = [layer_time(layer, 1, Roofline(device, found, "float32")) for found in (slow, fast)]
    assert times[0].seconds == pytest.approx(3 * times[1].seconds)


def test_memory_of_weights_is_what_count_counts(plan: Plan) -> None:
    counted = count(plan.graph)
    assert plan.memory.gradients == 4 * counted.trainable_parameters
    assert plan.memory.weights == 4 * (counted.trainable_parameters + counted.batch_norm_statistics)
    assert plan.memory.optimizer == plan.memory.gradients
    assert plan.memory.kept == counted.activation_bytes // 2


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ("train.optimizer={kind: adam}", 2),
        ("train.optimizer={kind: sgd, momentum: 0.0, nesterov: false}", 0),
        ("train.optimizer={kind: rmsprop}", 1),
        ("train.weight_average=0.99", 2),
    ],
)
def test_optimizers_keep_so_many_numbers_of_a_weight(
    device: Device, change: str, kept: int
) -> None:
    changed = plan_training(load_spec("attention_digits", [change]), device)[0]
    assert changed.memory.optimizer == kept * changed.memory.gradients


def test_the_largest_batch_fits_and_the_next_does_not(plan: Plan) -> None:
    assert replace(plan, batch=plan.largest_batch).fits
    assert not replace(plan, batch=plan.largest_batch + 1).fits


def test_more_images_take_more_memory_and_time(plan: Plan) -> None:
    plans = [replace(plan, batch=batch) for batch in (1, 8, 64, 512, 4096)]
    for less, more in pairwise(plans):
        assert less.memory.peak(less.images) < more.memory.peak(more.images)
        assert less.step.seconds < more.step.seconds
        assert less.images_per_second < more.images_per_second


def test_fusion_saves_time(loaded: LoadedSpec, device: Device) -> None:
    compiled, eager = plan_training(loaded, device)
    assert compiled.software.fused
    assert compiled.step.seconds < eager.step.seconds


def test_devices_share_a_batch_and_send_their_gradients(plan: Plan) -> None:
    shared = replace(plan, devices=8)
    assert shared.images == plan.images // 8
    assert shared.sent_bytes == 2 * 7 / 8 * plan.gradient_bytes
    assert shared.step.gradients > plan.step.gradients == 0
    assert shared.step.overlapped <= shared.step.seconds
    assert replace(shared, local_batch_norm=True).step.statistics == 0


def test_efficiency_falls_as_devices_are_added(plan: Plan) -> None:
    found = [item.efficiency for item in plan.scaling]
    assert found[0] == 1
    assert sorted(found, reverse=True) == found
    assert plan.most_paying <= plan.scaling[-1].devices
    assert plan.fastest in {item.devices for item in plan.scaling}


def test_micro_batches_take_the_memory_of_one_and_the_time_of_all(device: Device) -> None:
    whole, parts = (
        plan_training(load_spec("attention56_cifar", [f"train.micro_batches={count}"]), device)[0]
        for count in (1, 4)
    )
    assert parts.images == whole.images // 4
    assert parts.largest_batch == 4 * whole.largest_batch
    assert parts.step.seconds > whole.step.seconds


def test_a_recipe_takes_its_steps_and_its_evaluations(plan: Plan) -> None:
    assert plan.run.training == pytest.approx(160_000 * plan.step.seconds)
    assert plan.run.epochs == pytest.approx(160_000 / 781)
    assert plan.run.evaluations == 20
    validated = plan_training(load_spec("yeah2020/attention56_cifar"), plan.device)[0]
    assert validated.run.evaluations == 180


@pytest.mark.parametrize(
    ("device", "arguments", "error", "told"),
    [
        ("t4", {"precision": "bfloat16"}, DeviceError, "has no bfloat16; it has float32 or float"),
        ("t4", {"devices": 3}, PlanError, "a batch of 64 cannot be divided among 3 devices; 63"),
        ("small", {}, PlanError, "for a single image"),
    ],
)
def test_what_cannot_be_is_refused(
    loaded: LoadedSpec, device: str, arguments: dict[str, object], error: type, told: str
) -> None:
    small = table()["t4"].model_copy(update={"memory": 1.1e9})
    found = small if device == "small" else table()[device]
    with pytest.raises(error) as raised:
        plan_training(loaded, found, **arguments)  # type: ignore[arg-type]
    assert told in str(raised.value)


@pytest.mark.parametrize("name", SPECS)
def test_shipped_specs_plan_on_every_device(name: str) -> None:
    loaded = load_spec(name)
    settings = network_settings(loaded.spec)
    tracer = TRACERS.setdefault(settings, Tracer(settings, symbolic=False))
    graph = trace_spec(loaded.spec, tracer=tracer)
    for device in table().values():
        for plan in plan_training(loaded, device, graph=graph):
            assert plan.step.seconds > 0


def test_the_page_on_scaling_is_fresh() -> None:
    assert scaling.render() == scaling.FILE.read_text(encoding="utf-8"), "run make generated"


class TestCommand:
    """`ranspec plan`."""

    def test_it_writes_tables(self) -> None:
        result = CliRunner().invoke(app, ["plan", "attention_digits", "--device", "t4"])
        assert result.exit_code == 0
        for told in ("memory of each device", "whole recipe", "batch_norm", "images each"):
            assert told in result.stdout

    def test_it_writes_json(self) -> None:
        arguments = ["plan", "attention_digits", "--device", "h100", "--format", "json"]
        result = CliRunner().invoke(app, [*arguments, "--devices", "2", "--batch", "128"])
        found = json.loads(result.stdout)
        assert [item["software"] for item in found] == ["compiled", "eager"]
        assert found[0]["memory"]["fits"]
        assert found[0]["all_reduce"]["sent"] == found[0]["all_reduce"]["gradients"]
        assert len(found[0]["layers"]) == len(found[1]["layers"])

    @pytest.mark.parametrize(
        "arguments",
        [
            ["attention_digits", "--device", "t5"],
            ["attention_digits", "--device", "nowhere.yaml"],
            ["attention_digits", "--device", "t4", "--precision", "float8"],
            ["attention_digits", "--device", "t4", "--batch", "0"],
            ["attention_digits", "--device", "t4", "--devices", "5"],
            ["attention_digit", "--device", "t4"],
            [],
        ],
    )
    def test_mistakes_exit_with_2(self, arguments: list[str]) -> None:
        result = CliRunner().invoke(app, ["plan", *arguments])
        assert result.exit_code == 2
        assert not result.stdout

    def test_it_adds_up_the_runs_of_a_study(self) -> None:
        arguments = ["plan", "--study", "wang2017_table1", "--device", "t4", "--format", "json"]
        alone, shared = (
            json.loads(CliRunner().invoke(app, [*arguments, "--devices", count]).stdout)
            for count in ("1", "3")
        )
        times = [run["seconds"] for run in alone["runs"]]
        assert alone["device_seconds"] == pytest.approx(sum(times))
        assert alone["seconds"] == pytest.approx(sum(times))
        assert shared["seconds"] == max(times)
