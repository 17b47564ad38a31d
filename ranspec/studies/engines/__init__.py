"""Where the jobs of a study run: here, on a Ray cluster, or under SLURM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ranspec.errors import RanspecError
from ranspec.studies.execution import Task


class EngineError(RanspecError):
    """An engine cannot run jobs here; the message says why, and what to do."""


class Engine(Protocol):
    """Runs jobs by `Execution`, each in a process of its own, and is asked how far it is."""

    def start(self, tasks: Sequence[Task]) -> None:
        """Have jobs run, in turn, and return at once. Raises EngineError where none can."""

    def running(self) -> bool:
        """Tell whether any job is still to end."""

    def stop(self) -> None:
        """Have what runs end with a checkpoint, and begin nothing; asked again, end at once."""

    def errors(self) -> Mapping[str, str]:
        """Return what went wrong beside the trainings themselves, by the key of the job."""

    def close(self) -> None:
        """Leave nothing of this engine's running."""
