"""Jobs on this machine: as many at once as it has devices, or else cores."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from ranspec.studies.execution import Execution, Share, Task
from ranspec.studies.results import Result
from ranspec.verify.processes import cores


class LocalEngine:
    """A pool of processes; `slots` is how many run at once, each with its share of the machine."""

    def __init__(self, slots: int | None = None) -> None:
        self._slots = slots
        self._pool: ThreadPoolExecutor | None = None
        self._futures: dict[str, Future[Result | None]] = {}
        self._shares: SimpleQueue[Share] = SimpleQueue()
        self._executions: set[Execution] = set()
        self._stops = 0

    def start(self, tasks: Sequence[Task]) -> None:
        for share in shares(self._slots, len(tasks), devices(), cores()):
            self._shares.put(share)
        self._pool = ThreadPoolExecutor(max(1, self._shares.qsize()))
        for task in tasks:
            self._futures[task.job.key] = self._pool.submit(self._run, task)

    def _run(self, task: Task) -> Result | None:
        share = self._shares.get()
        execution = Execution(task, share)
        self._executions.add(execution)
        for _ in range(self._stops):
            execution.stop()
        try:
            return execution.run()
        finally:
            self._executions.discard(execution)
            self._shares.put(share)

    def running(self) -> bool:
        return not all(future.done() for future in self._futures.values())

    def stop(self) -> None:
        self._stops += 1
        for execution in tuple(self._executions):
            execution.stop()

    def errors(self) -> Mapping[str, str]:
        ended = {key: future for key, future in self._futures.items() if future.done()}
        return {key: str(error) for key, future in ended.items() if (error := future.exception())}

    def close(self) -> None:
        while self.running() and self._stops < 2:
            self.stop()
        if self._pool:
            self._pool.shutdown()


def shares(slots: int | None, tasks: int, devices: Sequence[str], cores: int) -> list[Share]:
    """Divide a machine among the runs that are at work at once, no more than there are tasks."""
    count = max(1, min(slots or len(devices) or cores, tasks))
    threads = max(1, cores // count)
    if not devices:
        return [Share(threads)] * count
    return [Share(threads, devices[number % len(devices)]) for number in range(count)]


def devices() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return asked.stdout.split()
