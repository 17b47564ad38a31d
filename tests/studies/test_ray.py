"""Ray starts the jobs of a node that is lost on another, where they go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ranspec.studies.driver import drive
from ranspec.studies.engines import EngineError
from ranspec.studies.engines.local import LocalEngine
from ranspec.studies.engines.ray import RayEngine, share
from tests.studies.standins import noted, notes, table, tasks

SETTINGS = {
    "RAY_AUTH_MODE": "disabled",  # Ray writes a key into the home folder otherwise.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
}
STORE = 80 * 2**20
STUDY = ("--iterations", "40")


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip("ray")
    # Names of sockets below it may have some hundred characters.
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory(prefix="ray") as folder:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        patch.setenv("RAY_TMPDIR", folder)
        (Path(folder) / "ray").mkdir()
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
        started = Cluster(initialize_head=True, head_node_args=head)
        yield started
        started.shutdown()


def test_a_study_survives_the_loss_of_a_node(cluster: Any, tmp_path: Path) -> None:
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    study = tasks(tmp_path / "ray", 3, *STUDY, "--nap", "0.05")
    lost = []

    def lose() -> None:
        if not lost and sum(len(notes(each)) > 3 for each in study) == 2:
            lost.append(node)
            cluster.remove_node(node, allow_graceful=False)

    engine = RayEngine(tmp_path / "ray.log", cluster.address)
    assert drive(engine, study, lose) is None
    assert engine.errors() == {}
    assert lost
    assert sorted(noted(each, "start") for each in study) == [1, 1, 2]

    here = tasks(tmp_path / "here", 3, *STUDY)
    drive(LocalEngine(), here, lambda: None)
    assert table(study) == table(here)


def test_a_cluster_that_is_not_there_is_told(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(EngineError, match=r"no Ray cluster at 127\.0\.0\.1:1"):
        drive(RayEngine(tmp_path / "ray.log", "127.0.0.1:1"), tasks(tmp_path, 1), lambda: None)


@pytest.mark.parametrize(
    ("resources", "slots", "expected"),
    [
        ({"CPU": 16}, None, (1, 0)),
        ({"CPU": 16}, 4, (4, 0)),
        ({"CPU": 16, "GPU": 4}, None, (4, 1)),
        ({"CPU": 2, "GPU": 4}, None, (1, 1)),
    ],
)
def test_a_job_asks_for_its_share_of_a_cluster(
    resources: dict[str, float], slots: int | None, expected: tuple[int, float]
) -> None:
    assert share(resources, slots) == expected
