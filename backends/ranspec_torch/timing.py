"""Time training steps of generated PyTorch code."""

from __future__ import annotations

from types import ModuleType

from ranspec.planning.timing import RATE, Step, Subject, main


def open_step(train: ModuleType, subject: Subject) -> Step:
    """Return a step on random images that are on the device already."""
    import torch

    height, width, channels = subject.input
    settings = train.Settings(batch_size=subject.batch_size)
    place = train.choose_place(settings)
    model = place.put(train.make_model(settings)).train()
    optimizer = train.make_optimizer(model, settings)
    images = torch.randn(subject.batch_size, channels, height, width, dtype=place.dtype)
    images = images.to(place.device, memory_format=torch.channels_last)
    labels = torch.arange(subject.batch_size, device=place.device) % train.recipe.CLASSES

    def step() -> float:
        loss = train.train_step(model, optimizer, images, labels, RATE, settings)
        return float(loss)

    return step


if __name__ == "__main__":
    main(open_step, fused=False)
