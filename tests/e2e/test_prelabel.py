"""`prelabel` with a real Label Studio and a real Ray, of which any part may be killed at any moment.

After the command was run again, every good task has exactly one prediction of the version, and every bad one a reason.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.cluster_utils import Cluster

from omni_timeline.model.checkpoint import Checkpoint
from omni_timeline.synthetic import draw_scene, write_video
from places import ROOT

from .backends import command_of, different, family, until
from .label_studio import LabelStudio, label_studio
from .prelabeling import INTERRUPTED, LOCAL, PREDICTED, SOME_FAILED, Studio, parent, prelabel, those

pytestmark = pytest.mark.e2e

PATIENCE = 400.0  # s; only a test that fails waits so long
PREDICTING = b"ray::MapWorker(Map(Predicting))"
NO_PAGE = {"include_dashboard": False}  # for the first machine of a cluster


@pytest.fixture(scope="module")
def own(
    studio: LabelStudio, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Studio]:
    """One of these tests alone, with what the others' had in it: to make a new database takes a minute."""
    venv = Path(os.environ.get("LABEL_STUDIO_VENV", request.config.rootpath / ".venv-label-studio"))
    folder = tmp_path_factory.mktemp("prelabel")
    shutil.copytree(studio.log.parent / "data", folder / "data")  # type: ignore[attr-defined]
    own = Studio(lambda: label_studio(venv, folder))
    own.start()
    port = int(own.now.url.rsplit(":", 1)[1])
    own.open = lambda: label_studio(venv, folder, port)
    yield own
    own.stop()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 clips that are all different, and files that are none."""
    folder = tmp_path_factory.mktemp("clips")
    for seed in range(6):
        scene = draw_scene(np.random.default_rng(seed), 4.0 + seed % 3, sound=seed % 2 == 1)
        drawn = write_video(scene, folder / f"drawn{seed}.mp4", fps=10, height=56, width=84)
        for number in range(10):
            different(drawn, number, folder)
        drawn.unlink()
    (folder / "text.mp4").write_bytes(b"this is no video" * 100)
    (folder / "empty.mp4").touch()
    return folder


def run(own: Studio, clips: Path, folder: Path, *arguments: object) -> tuple[int, dict[str, Any]]:
    """Exit code and report of the command, run to its end."""
    with prelabel(own.now, clips, folder, *arguments, "--report", folder / "report.json") as process:
        code = process.wait(PATIENCE)
    return code, json.loads((folder / "report.json").read_text())


def copies(own: Studio, project: int) -> dict[str, int]:
    """How many predictions each task has, by its video."""
    return {name: len(task["predictions"]) for name, task in own.tasks(project).items()}


def versions(own: Studio, project: int, video: str) -> set[str]:
    """The model versions of a task's predictions."""
    return {each["model_version"] for each in own.tasks(project)[video]["predictions"]}


def dry_run(own: Studio, clips: Path, folder: Path, project: int, *arguments: object) -> tuple[int, list[str]]:
    """Exit code and output of a dry run."""
    log = folder / "log"
    before = len(log.read_text()) if log.exists() else 0
    every = ("--project", project, "--engine", "local", "--dry-run", *arguments)
    with prelabel(own.now, clips, folder, *every) as process:
        code = process.wait(PATIENCE)
    return code, log.read_text()[before:].splitlines()


def test_whatever_is_killed_every_task_ends_with_one_prediction_or_a_reason(own: Studio, clips: Path, tmp_path: Path):
    uploaded = clips / "drawn0-0.mp4"
    good = [LOCAL + path.name for path in sorted(clips.glob("drawn*")) if path != uploaded][:53]
    bad = [LOCAL + "text.mp4", LOCAL + "empty.mp4", LOCAL + "missing.mp4", "", "https://127.0.0.1:1/x.mp4", "file:///x"]
    project = own.project(*good, *bad)
    good.append(own.now.upload(project, uploaded))
    own.now.create_task(project, good[-1])
    assert len(good) + len(bad) == 60

    with prelabel(own.now, clips, tmp_path, "--project", project, "--engine", "ray") as process:
        assert until(lambda: bool(those(process, b"omni_timeline.media.worker")), PATIENCE), tmp_path
        os.kill(those(process, b"omni_timeline.media.worker")[0], signal.SIGKILL)
        assert until(lambda: own.predicted(project) > 0, PATIENCE)
        assert until(lambda: bool(those(process, b"omni_timeline.model.worker")), PATIENCE)  # it may just be replaced
        [model] = those(process, b"omni_timeline.model.worker")
        actor = parent(model)
        assert b"ray::" in command_of(actor)
        os.kill(actor, signal.SIGKILL)
        before = own.predicted(project)
        assert until(lambda: own.predicted(project) > before, PATIENCE)
        of_the_driver = family(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        assert own.predicted(project) < len(good)  # it was in the middle of it
    assert until(lambda: not any(b"omni_timeline" in command_of(pid) for pid in of_the_driver), PATIENCE)

    with prelabel(own.now, clips, tmp_path, "--project", project, "--engine", "ray") as process:
        before = own.predicted(project)
        assert until(lambda: own.predicted(project) > before, PATIENCE)
        own.stop()
        own.start()
        assert process.wait(PATIENCE) == SOME_FAILED

    code, report = run(own, clips, tmp_path, "--project", project, "--engine", "local")
    assert copies(own, project) == {**dict.fromkeys(good, 1), **dict.fromkeys(bad, 0)}
    assert code == SOME_FAILED
    assert (report["predicted"], report["already_there"], report["failed"]) == (0, len(good), len(bad))
    assert all(failure["reason"].endswith(".") for failure in report["failures"])
    assert "generate" not in report["seconds_by_stage"]  # nothing was asked of the model


@pytest.mark.parametrize("another", ["stays", "comes"])
def test_a_machine_that_leaves_the_cluster_takes_no_task_with_it(
    own: Studio, clips: Path, tmp_path: Path, another: str
):
    """Its models once waited for ever for cores of decoders, which waited for models; or for the machine itself."""
    videos = [LOCAL + path.name for path in sorted(clips.glob("drawn*"))[:55]]
    project = own.project(*videos, *videos)  # more than are worked on at a time by two models
    cluster = Cluster()

    def join(name: str, cores: int) -> Any:
        environ = {"LOCAL_FILES_ROOT": str(clips), "CACHE_DIR": str(tmp_path / name)}
        return cluster.add_node(num_cpus=cores, env_vars=environ, **({} if cluster.head_node else NO_PAGE))

    try:
        join("first", 2 if another == "stays" else 0)
        leaving = join("leaves", 2)
        arguments = ("--project", project, "--address", cluster.address, "--report", tmp_path / "report.json")
        with prelabel(own.now, clips, tmp_path, *arguments) as process:
            assert until(lambda: own.predicted(project) > 0 or process.poll() is not None, PATIENCE)
            if another == "comes":
                join("comes", 2)
            cluster.remove_node(leaving, allow_graceful=False)
            assert own.predicted(project) < 2 * len(videos)
            assert process.wait(PATIENCE) == PREDICTED
    finally:
        cluster.shutdown()
    report = json.loads((tmp_path / "report.json").read_text())
    listed = own.now.call("GET", "/api/tasks", params={"project": project, "page_size": 1000, "fields": "all"})
    assert [len(task["predictions"]) for task in listed["tasks"]] == [1] * 2 * len(videos)
    assert (report["engine"], report["predicted"], report["failed"]) == ("ray", 2 * len(videos), 0)


def test_a_model_that_cannot_be_loaded_again_at_once_is_tried_until_it_can(own: Studio, clips: Path, tmp_path: Path):
    """Ray gave up the actor and waited for it, an hour long."""
    model = shutil.copytree(Checkpoint.find("demo").folder, tmp_path / "model")
    videos = [LOCAL + path.name for path in sorted(clips.glob("drawn*"))]
    project = own.project(*videos)
    arguments = ("--project", project, "--engine", "ray", "--num-workers", 1)
    with prelabel(own.now, clips, tmp_path, *arguments, MODEL=str(model)) as process:
        assert until(lambda: own.predicted(project) > 0, PATIENCE)
        [actor] = those(process, PREDICTING)
        model.rename(tmp_path / "away")
        os.kill(actor, signal.SIGKILL)
        assert own.predicted(project) < len(videos)
        assert until(lambda: bool(set(those(process, PREDICTING)) - {actor}), PATIENCE)
        [again] = set(those(process, PREDICTING)) - {actor}
        assert until(lambda: again not in those(process, PREDICTING), PATIENCE)  # it found no model
        (tmp_path / "away").rename(model)
        assert process.wait(PATIENCE) == PREDICTED
    assert copies(own, project) == dict.fromkeys(videos, 1)


def test_following_it_replaces_old_versions_and_stops_when_asked_to(own: Studio, clips: Path, tmp_path: Path):
    first, second, new = (LOCAL + path.name for path in sorted(clips.glob("drawn*"))[:3])
    project = own.project(first, second)
    for task in own.tasks(project).values():
        body = {"task": task["id"], "result": [], "model_version": "old-1"}
        own.now.call("POST", "/api/predictions/", json=body)

    code, out = dry_run(own, clips, tmp_path, project)
    assert (code, own.predicted(project)) == (PREDICTED, 2)
    assert "2 tasks would be predicted; 0 have a prediction already" in out[0]
    assert "drawn0-0.mp4" in out[1]
    assert len(out) == 3

    arguments = ("--project", project, "--engine", "local", "--follow", "--replace-versions", "old-1")
    with prelabel(own.now, clips, tmp_path, *arguments, "--report", tmp_path / "report.json") as process:
        assert until(lambda: versions(own, project, first) == versions(own, project, second) != {"old-1"}, PATIENCE)
        own.now.create_task(project, new)
        assert until(lambda: len(versions(own, project, new)) == 1, PATIENCE)
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal: all of its processes get it
        assert process.wait(PATIENCE) == PREDICTED
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["predicted"], report["removed_predictions"], report["stopped"]) == (3, 2, True)
    assert copies(own, project) == {first: 1, second: 1, new: 1}
    number = own.tasks(project)[first]["id"]
    code, out = dry_run(own, clips, tmp_path, project, "--task-ids", f"{number},999999")
    assert "0 tasks would be predicted; 1 have a prediction already" in out[0]
    assert out[1:] == [f"  999999: Project {project} has no task 999999."]


def test_some_of_the_tasks_are_predicted_and_no_others(own: Studio, clips: Path, tmp_path: Path):
    videos = [LOCAL + path.name for path in sorted(clips.glob("drawn*"))[:6]]
    project = own.project(*videos)
    numbers = {video: task["id"] for video, task in own.tasks(project).items()}
    few = {"filter": "filter:tasks:id", "operator": "less", "type": "Number", "value": numbers[videos[3]]}
    filters = {"filters": {"conjunction": "and", "items": [few]}}
    view = own.now.call("POST", "/api/dm/views/", json={"project": project, "data": filters})["id"]

    code, report = run(
        own, clips, tmp_path, "--project", project, "--engine", "local", "--task-ids", numbers[videos[0]]
    )
    assert (code, report["predicted"], report["already_there"]) == (PREDICTED, 1, 0)
    assert copies(own, project) == {**dict.fromkeys(videos, 0), videos[0]: 1}
    of_view = ("--view", view, "--limit", 1)
    _, out = dry_run(own, clips, tmp_path, project, *of_view)
    assert "1 tasks would be predicted; 1 have a prediction already" in out[0]
    code, report = run(own, clips, tmp_path, "--project", project, "--engine", "local", *of_view)
    assert (code, report["predicted"], report["already_there"]) == (PREDICTED, 1, 1)
    code, report = run(own, clips, tmp_path, "--project", project, "--engine", "local", "--view", view)
    assert (code, report["predicted"], report["already_there"]) == (PREDICTED, 1, 2)
    assert copies(own, project) == {video: int(place < 3) for place, video in enumerate(videos)}


def test_without_access_to_label_studio_it_imports_the_result(own: Studio, clips: Path, tmp_path: Path):
    folder = tmp_path / "videos"
    folder.mkdir()
    names = [path.name for path in sorted(clips.glob("drawn*"))[:40]]  # more than are in one batch
    for name in names:
        (folder / name).symlink_to(clips / name)
    output = tmp_path / "out.jsonl"
    arguments = ("--export", output, "--videos", folder, "--label-config", ROOT / "label_config.xml")
    reported = tmp_path / "report.json"
    with prelabel(own.now, clips, tmp_path, *arguments, "--engine", "local", "--report", reported) as process:
        assert until(lambda: output.exists() and bool(output.read_bytes()), PATIENCE)
        os.killpg(process.pid, signal.SIGINT)
        assert until(lambda: "once more stops" in (tmp_path / "log").read_text() or process.poll() is not None)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) == INTERRUPTED
    assert json.loads(reported.read_text())["stopped"]
    (folder / "text.mp4").symlink_to(clips / "text.mp4")
    left = len(names) - len(output.read_bytes().splitlines())
    code, report = run(own, clips, tmp_path, *arguments, "--engine", "local")
    assert (code, report["predicted"], report["failed"]) == (SOME_FAILED, left, 1)
    project = own.project()
    own.now.call("POST", f"/api/projects/{project}/import", json=json.loads(output.with_suffix(".json").read_text()))
    assert copies(own, project) == {LOCAL + name: 1 for name in names}
    assert own.tasks(project)[LOCAL + names[0]]["predictions"][0]["model_version"].startswith("demo-")
