"""Several processes of PyTorch are the run of one, whoever starts them, and whatever ends one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from ranspec.codegen.backend import load_backend
from ranspec.codegen.render import render_files
from ranspec.runtime import checkpoint
from ranspec.spec import load_spec
from ranspec_torch.runtime.processes import Processes, first_host

SPEC = """
name: tiny
source: A test
input: {height: 8, width: 8, channels: 1}
classes: 10
stem: {channels: 8, kernel: 3}
stages:
  stage1: {channels: 8, units: 1}
train:
  data: digits
  batch_size: 16
  iterations: 20
  learning_rate: {kind: step, initial: 0.1, at: [10]}
"""

KILLED = """
import os, signal, sys
import train

step, taken = train.train_step, []

def killed(*arguments):
    taken.append(1)
    if len(taken) == 8 and os.environ["RANK"] == "1":
        if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
    return step(*arguments)

train.train_step = killed
train.main(train.parse_settings(train.Settings, train.__doc__))
"""

ALONE = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
OPTIONS = ("--precision", "float64", "--evaluate-every", "10")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    (folder / "tiny.yaml").write_text(SPEC)
    loaded = load_spec(folder / "tiny.yaml")
    for name, content in render_files(loaded, load_backend("torch")).items():
        (folder / name).write_text(str(content))
    return folder


def start(folder: Path, *command: str, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, **ALONE, "HOME": str(folder), **variables}
    return subprocess.Popen(
        [sys.executable, *command], cwd=folder, env=environment, text=True, stderr=subprocess.PIPE
    )


def torchrun(folder: Path, processes: int, *command: str, **variables: str) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}")
    process = start(folder, *launcher, *command, **variables)
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def weights(folder: Path) -> dict[str, Any]:
    tensors, manifest = checkpoint.load(folder / "checkpoint.safetensors")
    assert manifest.step == 20
    return tensors


def distance(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


@pytest.fixture(scope="module")
def alone(built: Path) -> dict[str, Any]:
    process = start(built, "train.py", *OPTIONS, "--output", "alone")
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return weights(built / "alone")


def test_four_processes_train_as_one_does(built: Path, alone: dict[str, Any]) -> None:
    output = "together"
    torchrun(built, 4, "train.py", *OPTIONS, "--output", output)
    found = weights(built / output)
    assert all(array.dtype == np.float64 for array in found.values())
    assert distance(found, alone) < 1e-9
    results = [(built / name / "metrics.jsonl").read_text() for name in ("alone", output)]
    accuracies = [
        [line.split('"test_accuracy": ')[1] for line in text.splitlines() if "test_acc" in line]
        for text in results
    ]
    assert accuracies[0] == accuracies[1]


def test_two_that_slurm_starts_find_each_other_and_do_so_too(
    built: Path, alone: dict[str, Any]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    slurm = {
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_JOB_ID": "1",
        "MASTER_PORT": port,
    }
    command = ("train.py", *OPTIONS, "--output", "slurm")
    processes = [
        start(built, *command, **slurm, SLURM_PROCID=rank, SLURM_LOCALID=rank) for rank in "01"
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert distance(weights(built / "slurm"), alone) < 1e-9


def test_a_process_that_is_killed_comes_back(built: Path, alone: dict[str, Any]) -> None:
    (built / "killed.py").write_text(KILLED)
    command = ("--max-restarts=1", "killed.py", *OPTIONS, "--output", "killed")
    more = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    torchrun(built, 2, *command, "--checkpoint-every", "5", **more)
    assert distance(weights(built / "killed"), alone) < 1e-9
    config = (built / "killed" / "config.json").read_text()
    assert config.count('"first_step": 5') == 1


def test_a_batch_that_cannot_be_divided_is_refused(built: Path) -> None:
    process = start(built, "train.py", RANK="0", WORLD_SIZE="3")
    _, errors = process.communicate()
    assert process.returncode == 2
    assert errors == "error: --batch-size 16: cannot be divided among 3 processes\n"


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("node7", "node7"),
        ("node[03-05,9],other", "node03"),
        ("a,b", "a"),
        ("gpu[1-2]-ib.cluster,x", "gpu1-ib.cluster"),
    ],
)
def test_the_first_of_slurms_hosts_is_where_processes_meet(hosts: str, first: str) -> None:
    assert first_host(hosts) == first


def test_a_process_is_alone_unless_it_is_told_otherwise() -> None:
    # The script of a job sees its number of tasks, but is itself none of a step.
    assert Processes.told({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) == Processes()
    told = Processes.told({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
    assert told == Processes(3, 4, 1)
