from typing import NamedTuple

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ranspec.runtime.data import Statistics, synthetic  # noqa: E402
from ranspec.runtime.sampling import crop_and_flip  # noqa: E402
from ranspec_torch.runtime import weights  # noqa: E402
from ranspec_torch.runtime.augment import (  # noqa: E402
    crop_and_flip_images,
    normalize,
    put_statistics,
)
from ranspec_torch.runtime.devices import DeviceData, Place  # noqa: E402
from ranspec_torch.runtime.layers import resize_nearest  # noqa: E402
from ranspec_torch.runtime.processes import Processes, clip  # noqa: E402


def network() -> "torch.nn.Sequential":
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, bias=False),
        torch.nn.BatchNorm2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 2),
    )


def trained(name: str) -> tuple["torch.nn.Module", "torch.optim.Optimizer"]:
    model = network().to(memory_format=torch.channels_last)
    if name == "SGD":
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    elif name == "RMSprop":
        optimizer = torch.optim.RMSprop(model.parameters(), lr=0.1)
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for step in range(2):
        step_once(model, optimizer, step)
    return model, optimizer


def step_once(model: "torch.nn.Module", optimizer: "torch.optim.Optimizer", seed: int) -> None:
    images = torch.from_numpy(np.random.default_rng(seed).standard_normal((5, 3, 4, 4))).float()
    optimizer.zero_grad()
    model(images).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("pad", [0, 2])
def test_augmentation_is_pad_crop_flip_of_the_normalised_image(pad: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, 5, 7, 3), dtype=np.uint8)
    mean, scale = rng.random((5, 7, 3)), rng.random((1, 1, 3))
    offsets, flips = crop_and_flip(0, 0, 16, pad, True)
    expected = np.pad((images / 255 - mean) * scale, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    expected = np.stack(
        [
            image[row : row + 5, column : column + 7][:, :: -1 if flip else 1]
            for image, (row, column), flip in zip(expected, offsets, flips, strict=True)
        ]
    )
    statistics = put_statistics(Statistics(mean, scale), "cpu", torch.float64)
    normalized = normalize(torch.from_numpy(images), statistics)
    result = crop_and_flip_images(normalized, *map(torch.from_numpy, (offsets, flips)), pad)
    assert np.allclose(result.numpy(), expected.transpose(0, 3, 1, 2), rtol=0, atol=1e-15)
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_normalisation_keeps_the_precision_of_the_statistics() -> None:
    images = torch.full((1, 2, 2, 1), 255, dtype=torch.uint8)
    quarter = Statistics(np.full((1, 1, 1), 0.25), np.full((1, 1, 1), 0.25))
    for dtype in (torch.float32, torch.float64):
        result = normalize(images, put_statistics(quarter, "cpu", dtype))
        assert result.dtype == dtype
        assert torch.allclose(result, torch.full((), 0.1875, dtype=dtype), rtol=1e-7, atol=0)


@pytest.mark.parametrize("optimizer", ["SGD", "RMSprop", "Adam"])
def test_a_loaded_run_goes_on_as_the_saved_one(optimizer: str) -> None:
    model, saved = trained(optimizer)
    arrays = weights.state(model, saved)
    other, loaded = trained(optimizer)
    weights.load(other, arrays, loaded, step=2)
    step_once(model, saved, 9)
    step_once(other, loaded, 9)
    after, expected = weights.state(other, loaded), weights.state(model, saved)
    assert after.keys() == expected.keys()
    assert all(np.array_equal(after[name], expected[name]) for name in after)


def test_names_and_layouts_are_canonical() -> None:
    model, optimizer = trained("SGD")
    arrays = weights.state(model, optimizer)
    assert arrays["0.weight"].shape == (4, 3, 3, 3)
    assert all(array.flags.c_contiguous for array in arrays.values())
    assert {"1.running_mean", "1.running_var", "optimizer.momentum.3.bias"} <= arrays.keys()
    assert not any("num_batches_tracked" in name for name in arrays)
    assert weights.shapes(model) == {n: a.shape for n, a in weights.state(model).items()}


def test_a_state_does_not_change_with_the_model() -> None:
    model, optimizer = trained("SGD")
    before = weights.state(model, optimizer)
    copies = {name: array.copy() for name, array in before.items()}
    step_once(model, optimizer, 3)
    assert all(np.array_equal(before[name], copies[name]) for name in before)


def test_tensors_that_do_not_fit_are_named() -> None:
    arrays = weights.state(network())
    for changed, message in [
        ({"0.weight": np.zeros((4, 3, 3, 1))}, r"0\.weight has shape \[4, 3, 3, 1\]"),
        ({"extra": np.zeros(1)}, "extra has no place"),
    ]:
        with pytest.raises(ValueError, match=message):
            weights.load(network(), {**arrays, **changed})
    del arrays["3.bias"]
    with pytest.raises(ValueError, match=r"3\.bias is missing"):
        weights.load(network(), arrays)


@pytest.mark.parametrize(("old", "new"), [(4, 8), (58, 230), (50, 198), (16, 122), (9, 4)])
def test_nearest_positions_are_quotients_of_whole_numbers(old: int, new: int) -> None:
    x = torch.arange(old * old, dtype=torch.float64).reshape(1, 1, old, old).requires_grad_()
    resized = resize_nearest(x, torch.Size((new, new)))
    positions = np.arange(new) * old // new
    assert (
        resized.detach().numpy() == x.detach().numpy()[:, :, positions[:, None], positions]
    ).all()
    resized.sum().backward()
    times = np.bincount(positions, minlength=old)
    assert (x.grad.numpy() == np.outer(times, times)).all()


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam"])
def test_averages_follow_the_weights_and_are_tested_in_their_place(name: str) -> None:
    model, optimizer = trained(name)
    weights.begin(model, optimizer, average=True)
    start = weights.state(model)
    step_once(model, optimizer, 3)
    weights.average(model, optimizer, 0.75)
    after = weights.state(model, optimizer)
    tested = weights.tested(after)
    for kernel, before in start.items():
        kept = 1.0 if "running" in kernel else 0.25
        assert np.allclose(tested[kernel], (1 - kept) * before + kept * after[kernel], atol=1e-6)
    with weights.averaged(model, optimizer):
        within = weights.state(model)
    assert all(np.array_equal(within[kernel], tested[kernel]) for kernel in within)
    again = weights.state(model, optimizer)
    assert all(np.array_equal(again[kernel], after[kernel]) for kernel in after)


@pytest.mark.parametrize(("largest", "share"), [(10.0, 1.0), (2.5, 0.5)])
def test_gradients_are_shortened_together(largest: float, share: float) -> None:
    gradients = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    clip(gradients, largest)
    assert torch.equal(gradients[0], torch.tensor([3.0, 0.0]) * share)
    assert torch.equal(gradients[1], torch.tensor([[4.0]]) * share)


class Draws(NamedTuple):
    indices: np.ndarray
    seed: int


def shared(count: int, processes: int) -> "list[DeviceData]":
    dataset = synthetic(count, classes=3, height=2, width=2, channels=1)
    known = Statistics(np.zeros((1, 1, 1)), np.ones((1, 1, 1)))
    everyone = [Processes(rank, processes) for rank in range(processes)]
    cpu = torch.device("cpu")
    places = [Place(cpu, "float32", compiled=False, processes=one) for one in everyone]
    return [DeviceData(dataset, known, place) for place in places]


@pytest.mark.parametrize(("count", "size", "processes"), [(10, 4, 1), (10, 4, 3), (3, 8, 2)])
def test_processes_evaluate_each_image_once_in_batches_of_one_size(
    count: int, size: int, processes: int
) -> None:
    everyone = shared(count, processes)
    shares = [list(data.batches(size)) for data in everyone]
    assert {len(batch) for share in shares for batch in share} == {size}
    together = torch.cat([batch for share in shares for batch in share])
    assert len({len(share) for share in shares}) == 1
    assert np.array_equal(together[:count].numpy(), everyone[0].dataset.images)


def test_processes_share_the_rows_of_each_batch() -> None:
    def draw(step: int, size: int, recipe: object, sizes: object) -> Draws:
        return Draws((np.arange(6) + step) % size, step)

    steps = [list(data.ahead(draw, None, range(5))) for data in shared(10, 3)]
    for step, found in enumerate(zip(*steps, strict=True)):
        labels = torch.cat([labels for _, labels, _ in found])
        assert labels.tolist() == [(row + step) % 10 % 3 for row in range(6)]
        assert all(draws.seed == step for _, _, draws in found)
