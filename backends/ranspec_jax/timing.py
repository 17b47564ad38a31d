"""Time training steps of generated JAX code."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ranspec.planning.timing import RATE, Step, Subject, main


def open_step(train: ModuleType, subject: Subject) -> Step:
    """Return a step, one compiled call, on random images that are on the device already."""
    import jax

    settings = train.Settings(batch_size=subject.batch_size)
    devices = train.Devices.choose(settings)
    model = train.make_model(settings)
    devices.prepare(model)
    optimizer = train.make_optimizer(model, settings)
    images = jax.random.normal(jax.random.key(0), (subject.batch_size, *subject.input))
    labels = jax.numpy.arange(subject.batch_size) % train.recipe.CLASSES
    data = devices.put(images), devices.put(labels)

    def ready(_draws: Any, _images: Any, data: Any, _settings: Any) -> Any:
        return data

    compiled = train.CompiledSteps(train.train_step, ready, model, optimizer, settings, devices)
    nothing_drawn = [(0, None)]
    return lambda: compiled.fetch([compiled(nothing_drawn, [RATE], data)])


if __name__ == "__main__":
    main(open_step, fused=True)
