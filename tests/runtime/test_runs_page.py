"""docs/runs.md tells what runs do: its files, its exit codes, and a script that works."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from ranspec.runtime import folder, run

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/runs.md").read_text(encoding="utf-8")


def test_every_file_of_a_folder_is_told() -> None:
    names = (folder.CONFIG, folder.METRICS, folder.NEWEST, folder.BEST)
    for name in (*names, folder.DIVERGED, folder.REPORT):
        assert f"| `{name}` |" in PAGE


def test_every_exit_code_and_signal_is_told() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    ours = {run.DIVERGENCE, run.UNWRITTEN, run.INTERRUPTED, run.ENDED_AT_ONCE}
    assert told == {0, 2} | ours
    assert all(name in PAGE for name in run.SIGNALS)


def test_the_script_for_slurm_has_the_job_put_back_into_the_queue(tmp_path: Path) -> None:
    script = re.search(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    assert script is not None
    training = f"{sys.executable} {ROOT}/tests/runtime/training.py --output run --nap 0.02"
    training += " --iterations 9999 --log-every 5 --evaluate-every 9999"
    (tmp_path / "job").write_text(script[1].replace("python train.py", training))
    queue = tmp_path / "scontrol"
    queue.write_text('#!/bin/sh\necho "$@" > "$(dirname "$0")/asked"\n')
    queue.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "SLURM_JOB_ID": "7"}
    with subprocess.Popen(
        ["bash", "job"], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL
    ) as job:
        # The first line of metrics: the run is under way.
        while (
            not (metrics := tmp_path / "run" / "metrics.jsonl").is_file() or not metrics.read_text()
        ):
            time.sleep(0.02)
            assert job.poll() is None
        job.send_signal(signal.SIGUSR1)
    assert job.returncode == run.INTERRUPTED
    assert (tmp_path / "asked").read_text() == "requeue 7\n"
    assert (tmp_path / "run" / "checkpoint.safetensors").is_file()
