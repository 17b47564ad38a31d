"""Measure a training step of generated PyTorch against a bare step and a loop written by hand.

    python benchmarks/torch_training.py attention92_cifar --batch-size 64 --rounds 20

All take the same network, in turn, on the same machine and threads:

- `bare`: the generated `train_step` on a batch that is there already;
- `whole`: the same with its batch, as `train.py` does: drawn, read and augmented;
- `hand`: a loop in channels-last memory as one would write it, random crops and flips included.

Prints the median time of each, and the median and quartiles of its ratio to `bare` in its round;
beside the time by the clock that of the processor, which other work on the machine changes little.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from turns import measure, report

from ranspec.codegen.build import build
from ranspec.spec import load_spec


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("spec")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=1, help="steps of a round")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        build(load_spec(options.spec), "torch", Path(folder) / "code")
        sys.path.insert(0, str(Path(folder) / "code"))
        steps = contenders(options.batch_size)
        for step in steps.values():
            step()
        report(measure(steps, options.rounds, options.steps))


def contenders(batch_size: int) -> dict[str, Callable[[], object]]:
    """Return what takes one step, by name."""
    import recipe
    import train
    from data import measure, synthetic
    from devices import DeviceData, choose_place

    settings = train.Settings(batch_size=batch_size, iterations=10**9)
    size = {"height": recipe.HEIGHT, "width": recipe.WIDTH, "channels": recipe.CHANNELS}
    dataset = synthetic(40 * batch_size, classes=recipe.CLASSES, **size)
    place = choose_place(settings)
    known = measure([dataset.images], "channel_mean_std", colors=False)
    data = DeviceData(dataset, known, place)
    batches = data.ahead(recipe.draw, settings, range(10**9))

    def network() -> Any:
        return place.put(train.make_model(settings)).train()

    def batch() -> tuple[Any, Any]:
        images, labels, draws = next(batches)
        return recipe.training_images(images, draws, data.statistics, settings), labels

    ready, models = batch(), [network(), network()]
    optimizers = [train.make_optimizer(model, settings) for model in models]

    def step(index: int, images: Any, labels: Any) -> object:
        return train.train_step(models[index], optimizers[index], images, labels, 0.01, settings)

    by_hand = written_by_hand(network(), dataset, batch_size)
    return {
        "bare": lambda: step(0, *ready),
        "whole": lambda: step(1, *batch()),
        "hand": lambda: next(by_hand),
    }


def written_by_hand(model: Any, dataset: Any, batch_size: int) -> Iterator[None]:
    """Train as one would, in channels-last memory; yield after each step."""
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    images = torch.from_numpy(dataset.images).permute(0, 3, 1, 2)
    labels = torch.from_numpy(dataset.labels)
    height, width = images.shape[2:]
    while True:
        for indices in torch.randperm(len(labels)).split(batch_size):
            padded = F.pad(images[indices].float() / 255 - 0.5, (4, 4, 4, 4))
            crops = []
            for image in padded:
                top, left = torch.randint(0, 9, (2,)).tolist()
                crop = image[:, top : top + height, left : left + width]
                crops.append(crop.flip(2) if torch.rand(()) < 0.5 else crop)
            x = torch.stack(crops).contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), labels[indices])
            loss.backward()
            optimizer.step()
            yield


if __name__ == "__main__":
    main()
