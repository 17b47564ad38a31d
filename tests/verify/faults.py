"""Faults that are easily made, planted in one backend's code: the harness must see every one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ranspec.codegen.backend import load_backend
from ranspec.codegen.render import render_files
from ranspec.verify.experiment import Experiment, without_dropout
from tests.verify.networks import Network, tiny

HEALTHY = tiny(
    "input.height=13",
    "input.width=14",
    "attention.p=1",
    "stages.stage1.mask_depth=2",
    "stages.stage2={channels: 16, stride: 2, modules: 1, mask_depth: 1}",
)

SPECIMENS: Mapping[str, Network] = {"torch": HEALTHY, "jax": tiny(), "tensorflow": tiny()}
"""The network each backend's faults are planted in: small where compiling takes long."""

TRAINING, LOSS = "logits, training", "loss"
GRADIENTS, ONE_STEP = "gradients", "statistics, one step"
LOSSES, RATES, INITIAL = "losses, all steps", "learning rates", "initial weights"


@dataclass(frozen=True)
class Edit:
    """A piece of generated code, and what it is changed to wherever it occurs."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Fault:
    """A wrong backend: code of another spec, or edited code, and the first check that fails."""

    first: str
    changes: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = field(default=())


def files_with(fault: Fault, run: Experiment, backend: str) -> dict[str, str]:
    """Return the code a backend writes, with the fault in it."""
    wrong = Network((*SPECIMENS[backend].changes, *fault.changes)).load()
    loaded = without_dropout(wrong) if fault.changes else run.loaded
    files = render_files(loaded, load_backend(backend))
    for edit in fault.edits:
        assert edit.old in files[edit.file], f"{edit.file} no longer has: {edit.old}"
        files[edit.file] = files[edit.file].replace(edit.old, edit.new)
    return files


def other_spec(first: str, *changes: str) -> Fault:
    return Fault(first, changes=changes)


def model(first: str, old: str, new: str) -> Fault:
    return Fault(first, edits=(Edit("model.py", old, new),))


def with_class(first: str, definition: str, old: str, new: str) -> Fault:
    """Use a wrong class, defined at the top of PyTorch's model.py."""
    model, imports = "model.py", "from torch import Tensor, nn\n"
    return Fault(first, edits=(Edit(model, old, new), Edit(model, imports, imports + definition)))


def train(first: str, old: str, new: str) -> Fault:
    return Fault(first, edits=(Edit("train.py", old, new),))


def recipe(first: str, old: str, new: str) -> Fault:
    return Fault(first, edits=(Edit("recipe.py", old, new),))


def runtime(first: str, file: str, old: str, new: str) -> Fault:
    return Fault(first, edits=(Edit(file, old, new),))


CONV3X3 = "nn.Conv2d(width, width"
CROSS_ENTROPY = "F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)"
DECAY, NO_DECAY = '"weight_decay": settings.weight_decay', '"weight_decay": 0.0'
SET_RATE = '        group["lr"] = learning_rate\n'
BIASED_BATCH_NORM = """

class BiasedBatchNorm2d(nn.BatchNorm2d):
    def forward(self, x):
        count = x.numel() // x.shape[1]
        old = self.running_var.clone()
        y = super().forward(x)
        if self.training:
            kept = (1 - self.momentum) * old
            self.running_var = kept + (self.running_var - kept) * ((count - 1) / count)
        return y

"""
SHIFTED_CONV = """

class WrongConv2d(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(F.pad(x, (0, 2, 0, 2)), self.weight, stride=self.stride)

"""
FLIPPED_CONV = """

class WrongConv2d(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight.flip(2, 3), stride=self.stride, padding=1)

"""
KERAS_VELOCITY = """        for parameter in group["params"]:
            if "momentum_buffer" in optimizer.state[parameter]:
                optimizer.state[parameter]["momentum_buffer"] *= group["lr"] / learning_rate
"""
STEP = "    optimizer.step()\n"
DECOUPLED_DECAY = """    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data *= 1 - learning_rate * settings.weight_decay
"""

TORCH_FAULTS: Mapping[str, Fault] = {
    "wrong epsilon": other_spec(TRAINING, "batch_norm.epsilon=0.001"),
    "momentum the wrong way round": other_spec(ONE_STEP, "batch_norm.momentum=0.9"),
    "biased running variance": with_class(
        ONE_STEP, BIASED_BATCH_NORM, "nn.BatchNorm2d(", "BiasedBatchNorm2d("
    ),
    "corners not aligned": other_spec(TRAINING, "attention.mask.align_corners=false"),
    "nearest interpolation": other_spec(TRAINING, "attention.mask.interpolation=nearest"),
    "pool padded on both sides": other_spec(TRAINING, "attention.mask.pool.padding=same"),
    "average for maximum": other_spec(TRAINING, "attention.mask.pool.kind=average"),
    "M T for (1 + M) T": other_spec(TRAINING, "attention.learning=naive"),
    "channel attention": other_spec(TRAINING, "attention.activation=channel"),
    "padding on the other side": with_class(
        TRAINING, SHIFTED_CONV, CONV3X3, "WrongConv2d(width, width"
    ),
    "kernel flipped": with_class(TRAINING, FLIPPED_CONV, CONV3X3, "WrongConv2d(width, width"),
    "ReLU missing": model(TRAINING, "F.relu(self.norm(x)).mean", "self.norm(x).mean"),
    "ReLU twice": model(
        TRAINING, "return self.shortcut", "y = F.relu(y)\n        return self.shortcut"
    ),
    "shortcut of the raw input": model(TRAINING, "self.shortcut(activated)", "self.shortcut(x)"),
    "mask of the trunk": model(TRAINING, "self.mask(x)", "self.mask(trunk)"),
    "mask passes no gradient": model(GRADIENTS, "self.mask(x)", "self.mask(x).detach()"),
    "mask sees no gradient": model(GRADIENTS, "self.mask(x)", "self.mask(x.detach())"),
    "wrong skip": model(TRAINING, "self.skip1(down1)", "self.skip1(y)"),
    "no skip": model(TRAINING, "y + self.skip1(down1)", "y + 0 * self.skip1(down1)"),
    "maximum for the mean": model(TRAINING, ".mean(dim=(2, 3))", ".amax(dim=(2, 3))"),
    "decay of every parameter": train(LOSSES, NO_DECAY, DECAY),
    "no decay": train(LOSSES, DECAY, NO_DECAY),
    "decay apart from the gradient": Fault(
        LOSSES,
        edits=(
            Edit("train.py", DECAY, NO_DECAY),
            Edit("train.py", STEP, DECOUPLED_DECAY + STEP),
        ),
    ),
    "no Nesterov": train(LOSSES, "nesterov=settings.nesterov", "nesterov=False"),
    "learning rate in the velocity": train(LOSSES, SET_RATE, KERAS_VELOCITY + SET_RATE),
    "gradients never cleared": train(LOSSES, "    optimizer.zero_grad(set_to_none=True)\n", ""),
    "rate dropped one step late": runtime(RATES, "schedule.py", "step >= drop", "step > drop"),
    "another factor of the rate": recipe(
        RATES, "factor=recipe.learning_rate_factor", "factor=recipe.learning_rate_factor / 2"
    ),
    "weights drawn for the other fan": recipe(INITIAL, '"fan": "in"', '"fan": "out"'),
    "statistics that start at 0": train(
        INITIAL,
        "weights.load(model, weights.state(model) | kernels)",
        "weights.load(model, {n: 0 * a for n, a in weights.state(model).items()} | kernels)",
    ),
    "sum for the mean of the loss": train(
        LOSS, CROSS_ENTROPY, CROSS_ENTROPY[:-1] + ', reduction="sum")'
    ),
    "no label smoothing": train(LOSS, CROSS_ENTROPY, "F.cross_entropy(logits, labels)"),
    "computed in float32": model(
        TRAINING,
        "return self.shortcut(activated) + y",
        "return (self.shortcut(activated) + y).float().double()",
    ),
}

JAX_DECAY = "optax.add_decayed_weights(settings.weight_decay, weights.decayed(recipe.DECAYED)),"
JAX_MOMENTUM = "optax.trace(settings.momentum, settings.nesterov),"
JAX_FAULTS: Mapping[str, Fault] = {
    "biased running variance": runtime(
        ONE_STEP, "layers.py", "variance * (count / max(count - 1, 1))", "variance"
    ),
    "decay of every parameter": train(LOSSES, ", weights.decayed(recipe.DECAYED)", ""),
    "decay after momentum": train(
        LOSSES,
        f"        {JAX_DECAY}\n        {JAX_MOMENTUM}\n",
        f"        {JAX_MOMENTUM}\n        {JAX_DECAY}\n",
    ),
    "sum for the mean of the loss": runtime(LOSS, "losses.py", "losses.mean()", "losses.sum()"),
    "kernels transposed": Fault(
        TRAINING,
        edits=(
            Edit("weights.py", "4: (2, 3, 1, 0)", "4: (3, 2, 1, 0)"),
            Edit("weights.py", "4: (3, 2, 0, 1)", "4: (3, 2, 1, 0)"),
        ),
    ),
}

TENSORFLOW_FAULTS: Mapping[str, Fault] = {
    "biased running variance": runtime(
        ONE_STEP, "layers.py", "variance * (n / tf.maximum(n - 1, 1))", "variance"
    ),
    "decay of every parameter": runtime(
        LOSSES, "weights.py", "penalty if id(v) in decayed else 0.0", "penalty"
    ),
    "no Nesterov": runtime(
        LOSSES, "optimizer.py", "use_nesterov=self.nesterov", "use_nesterov=False"
    ),
    "sum for the mean of the loss": train(
        LOSS, "tf.nn.compute_average_loss(losses)", "tf.reduce_sum(losses)"
    ),
}

FAULTS: Mapping[str, Mapping[str, Fault]] = {
    "torch": TORCH_FAULTS,
    "jax": JAX_FAULTS,
    "tensorflow": TENSORFLOW_FAULTS,
}
