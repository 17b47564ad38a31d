"""Several processes train one network: each takes its share of the rows of every batch.

Each is told its place by torchrun, or by SLURM's srun, in variables of the environment. What they
compute together is what one process computes alone, but for rounding.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: one may be decoding a dataset."""
PORTS = 20_000
"""The first of the ports that a SLURM job's number chooses from."""


@dataclass(frozen=True)
class Processes:
    """This process among those that train together, `rank` of `count`, `local` on its machine.

    `address` is where they meet, where the framework cannot find that itself.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    address: str | None = None

    @staticmethod
    def told(variables: Mapping[str, str] = os.environ) -> Processes:
        """Return what torchrun or srun says; one process alone where neither does."""
        if {"RANK", "WORLD_SIZE"} <= variables.keys():
            return Processes(
                int(variables["RANK"]),
                int(variables["WORLD_SIZE"]),
                int(variables.get("LOCAL_RANK", "0")),
            )
        if int(variables.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
            host = variables.get("MASTER_ADDR") or first_host(variables["SLURM_STEP_NODELIST"])
            port = variables.get("MASTER_PORT") or PORTS + int(variables["SLURM_JOB_ID"]) % PORTS
            return Processes(
                int(variables["SLURM_PROCID"]),
                int(variables["SLURM_STEP_NUM_TASKS"]),
                int(variables["SLURM_LOCALID"]),
                f"tcp://{host}:{port}",
            )
        return Processes()

    def join(self, device: torch.device) -> None:
        """Meet the others, unless there are none: over NCCL on GPUs, else over Gloo."""
        if self.count > 1:
            dist.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                init_method=self.address or "env://",
                rank=self.rank,
                world_size=self.count,
                timeout=PATIENCE,
                device_id=device if device.type == "cuda" else None,
            )


def first_host(hosts: str) -> str:
    """Return the first of SLURM's list of hosts, such as node[03-05,9],other."""
    found = re.match(r"([^\[,]*)(?:\[(\w+)[^\]]*\])?([^\[,]*)", hosts)
    return "".join(part or "" for part in found.groups()) if found else hosts


def average(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their means over the processes, in one exchange."""
    if not dist.is_initialized():
        return
    together = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(together)
    together /= dist.get_world_size()
    parts = torch.split(together, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def clip(gradients: Sequence[Tensor], largest: float) -> None:
    """Shorten gradients, taken together, to a norm of at most `largest`."""
    norm = nn.utils.get_total_norm(gradients)
    torch._foreach_mul_(list(gradients), largest / norm.clamp(min=largest))


def gather(rows: Tensor) -> Tensor:
    """Return the rows of all processes, one after the other; all have equally many."""
    if not dist.is_initialized():
        return rows
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def agree(yes: bool) -> bool:
    """Return whether any process says yes."""
    if not dist.is_initialized():
        return yes
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    votes = torch.tensor(float(yes), device=device)
    dist.all_reduce(votes)
    return bool(votes.item() > 0)


def wait() -> None:
    """Wait until all processes are here."""
    agree(False)


def leave() -> None:
    """Part from the other processes when all have come this far."""
    if dist.is_initialized():
        wait()
        dist.destroy_process_group()


class _Total(torch.autograd.Function):
    """The sum of a tensor over the processes; so is its gradient."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batches of all processes, in float32 or better.

    Unlike PyTorch's own SyncBatchNorm, it runs on CPUs too.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        count = dist.get_world_size() * x.numel() // x.shape[1]
        mean = _total(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = _total(centred.square().sum((0, 2, 3))) / count
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def share_statistics(model: nn.Module) -> None:
    """Have every batch norm of a model normalise by the batches of all processes."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = GlobalBatchNorm2d


def _total(x: Tensor) -> Tensor:
    total: Tensor = _Total.apply(x)  # type: ignore[no-untyped-call]
    return total
