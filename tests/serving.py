"""A process that serves the tests: it answers one request after another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class ServiceError(Exception):
    """A request that failed."""


@dataclass(frozen=True)
class Failed:
    """What a process answers in place of a result."""

    traceback: str


class Server:
    """A process, started when it is first needed and again when it has ended.

    It runs `python -m MODULE ARGUMENTS FD`, and is to call `serve` with the connection's file
    descriptor. None is left running: it ends with this process too, however that ends.
    """

    def __init__(
        self, module: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = ["-m", "ranspec.verify.guard", module, *arguments]
        self._environment = os.environ | {
            "CUDA_VISIBLE_DEVICES": "",
            "JAX_PLATFORMS": "cpu",
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: Any) -> Any:
        """Return the answer to a request; raise `ServiceError` where there is none.

        A test's own time limit interrupts it, which ends the process.
        """
        if self._process is None:
            self._start()
        try:
            self._connection.send(request)
            answer = self._connection.recv()
        except (EOFError, OSError):
            self.end()
            raise ServiceError(f"{' '.join(self._command)} ended") from None
        except BaseException:
            self.end()
            raise
        if isinstance(answer, Failed):
            raise ServiceError(answer.traceback)
        return answer

    def end(self) -> None:
        """Kill the process, if it runs, with all that it started."""
        if self._process is None:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin
        self._process.stdin.close()
        self._connection.close()
        self._process = None

    def _start(self) -> None:
        self._connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, *self._command, str(theirs.fileno())],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()


def serve(connection: str, answer: Callable[[Any], Any]) -> None:
    """Answer what comes through a connection, by its file descriptor, until it is closed."""
    requests = Connection(int(connection))
    while True:
        try:
            request = requests.recv()
        except EOFError:
            return
        try:
            requests.send(answer(request))
        except Exception:
            requests.send(Failed(traceback.format_exc()))
