"""Time training steps of generated TensorFlow code."""

from __future__ import annotations

from types import ModuleType

from ranspec.planning.timing import RATE, Step, Subject, main


def open_step(train: ModuleType, subject: Subject) -> Step:
    """Return a step, one graph, on random images."""
    import keras
    import tensorflow as tf

    settings = train.Settings(batch_size=subject.batch_size)
    devices = train.Devices(settings)
    model = train.make_model(settings)
    optimizer = train.make_optimizer(model, settings)
    images = tf.random.normal((subject.batch_size, *subject.input), dtype=keras.config.floatx())
    labels = tf.range(subject.batch_size) % train.recipe.CLASSES

    def take_step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return train.train_step(model, optimizer, images, labels, RATE, settings)

    compiled = tf.function(take_step, autograph=False, jit_compile=devices.xla)
    return lambda: float(compiled(images, labels))


if __name__ == "__main__":
    main(open_step, fused=False)
