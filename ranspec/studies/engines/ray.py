"""Jobs on a Ray cluster, one that is there or one of this machine alone.

A task of Ray is a job; where its node is lost, Ray starts it on another, where it goes on from its
checkpoint. The study's folder is to be where all nodes see it.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from ranspec.studies.engines import EngineError
from ranspec.studies.execution import Execution, Share, Task, attended

INSTALL = 'Ray is not installed: pip install "ranspec[ray]"'
LOG = "ray.log"
PATIENCE = 120.0
"""Seconds in which a training that was left on a lost node should have ended."""
REACHED = 10.0
"""Seconds in which a cluster should answer; Ray itself would try for minutes."""
STORE_BYTES = 100_000_000
"""Of Ray's object store, where this module starts Ray: jobs pass next to nothing through it."""


class RayEngine:
    """Runs jobs as tasks of Ray; `slots` is how many run at once, by default one a GPU or core.

    Ray writes to stdout of what it lost, at length; while this runs, that goes to the file `log`.
    """

    def __init__(self, log: Path, address: str | None = None, slots: int | None = None) -> None:
        self._log = log
        self._redirected = ExitStack()
        self._address = address or os.environ.get("RAY_ADDRESS")
        self._slots = slots
        self._ray: Any = None
        self._waiting: dict[Any, str] = {}
        self._errors: dict[str, str] = {}
        self._stops = 0

    def start(self, tasks: Sequence[Task]) -> None:
        log = self._redirected.enter_context(self._log.open("a", encoding="utf-8"))
        self._redirected.enter_context(redirect_stdout(log))
        ray = _connected(self._address)
        self._ray = ray
        cpus, gpus = share(ray.cluster_resources(), self._slots)
        for task in tasks:
            run = ray.remote(_run).options(
                num_cpus=cpus, num_gpus=gpus, max_retries=task.retries, name=task.job.key
            )
            patient = replace(task, patience=min(task.patience, PATIENCE))
            self._waiting[run.remote(patient, Share(cpus), Path.cwd())] = task.job.key

    def running(self) -> bool:
        ray = self._ray
        ended, _ = ray.wait([*self._waiting], num_returns=len(self._waiting), timeout=0)
        for reference in ended:
            key = self._waiting.pop(reference)
            try:
                ray.get(reference)
            except ray.exceptions.TaskCancelledError:
                pass
            except ray.exceptions.RayError as error:
                self._errors[key] = str(error).strip().splitlines()[-1]
        return bool(self._waiting)

    def stop(self) -> None:
        self._stops += 1
        for reference in self._waiting:
            self._ray.cancel(reference, force=self._stops > 1)

    def errors(self) -> Mapping[str, str]:
        return self._errors

    def close(self) -> None:
        if self._ray is not None:
            self._ray.shutdown()
        self._redirected.close()


def share(resources: Mapping[str, float], slots: int | None) -> tuple[int, float]:
    """Return the processors and GPUs that a job asks for of a cluster that has `resources`."""
    cpus, gpus = resources.get("CPU", 1.0), resources.get("GPU", 0.0)
    at_once = slots or int(gpus) or int(cpus)
    return max(1, int(cpus / at_once)), min(1.0, gpus)


def _connected(address: str | None) -> Any:
    """Return Ray, connected to a cluster, or to one that is started here.

    Raises EngineError where Ray is not installed or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:
        # One that no other machine can reach; otherwise Ray writes a key into the home folder.
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        # Its workers would give way to all else that the machine does.
        os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        import ray
    except ImportError:
        raise EngineError(INSTALL) from None
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        if address and (found := re.fullmatch(r"\[?([^/]+?)\]?:(\d+)", address)):
            socket.create_connection((found[1], int(found[2])), REACHED).close()
        ray.init(address, **options)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise EngineError(f"no Ray cluster at {address or 'this machine'}: {reason}") from error
    return ray


def _run(task: Task, share: Share, home: Path) -> str:
    """Run a job on a node, which is not to use more processors than it has asked for."""
    if home.is_dir():
        os.chdir(home)
    result = attended(Execution(task, share))
    return result.state if result else "stopped"
