"""The adapter under label-studio-ml's own server, with Label Studio's recorded requests and the demo checkpoint.

`make test-label-studio-ml` installs that library, from git, and runs these tests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.pipeline import Pipeline
from places import FIXTURES, LABEL_CONFIG

pytestmark = pytest.mark.label_studio_ml

REQUESTS = FIXTURES / "label-studio"
XML = LABEL_CONFIG.read_text(encoding="utf-8")
LOADING_SECONDS = 300.0


def recorded(name: str) -> dict[str, Any]:
    """The body of the first request in a recording."""
    body: dict[str, Any] = json.loads((REQUESTS / f"{name}.json").read_text())[0]["body"]
    return body


@pytest.fixture(scope="module")
def client(samples: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """label-studio-ml's own server with our class."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_DIR", str(tmp_path_factory.mktemp("label-studio-ml")))  # it opens a database on import
        patch.setenv("MODEL", "demo")
        patch.setenv("DEVICE", "cpu")
        patch.setenv("LOCAL_FILES_ROOT", str(samples[0].parent))
        patch.setenv("CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        from label_studio_ml.api import init_app

        from omni_timeline.service import label_studio_ml_adapter

        yield init_app(label_studio_ml_adapter.OmniTimeline).test_client()
        label_studio_ml_adapter.server().close()


@pytest.fixture(scope="module")
def version(client: FlaskClient) -> str:
    """What /setup says, asked again as Label Studio does until the checkpoint is known."""
    deadline = time.monotonic() + LOADING_SECONDS
    body = recorded("setup_request") | {"schema": XML}
    while "still loading" in (answer := client.post("/setup", json=body)).text:
        assert time.monotonic() < deadline, answer.text
    assert answer.status_code == 200, answer.text
    return str(answer.json["model_version"])


def test_the_version_is_that_of_the_projects_query(version: str, demo_model: OmniModel):
    assert version == LabelConfig.from_xml(XML).options(PredictOptions()).version(demo_model.version)


def test_each_task_gets_its_prediction_and_one_without_a_video_costs_the_others_nothing(
    client: FlaskClient, version: str, samples: list[Path], demo_model: OmniModel
):
    body = recorded("predict_request_batch") | {"label_config": XML}
    [task, *_] = body["tasks"]
    names = [samples[0].name, "gone.mp4", samples[1].name]
    body["tasks"] = [
        task | {"id": number, "data": {"video": f"/data/local-files/?d={name}"}} for number, name in enumerate(names)
    ]
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    first, gone, second = answer.json["results"]
    assert gone == []
    config = LabelConfig.from_xml(XML)
    pipeline, options = Pipeline(demo_model), config.options(PredictOptions())
    for entry, sample in zip((first, second), samples, strict=False):
        found = pipeline.predict(sample, options)
        assert entry["model_version"] == version
        assert entry["result"] == config.to_result(found.segments, duration=found.duration, task_data={})
        assert entry["result"]


def test_a_labeling_config_without_a_place_for_segments_is_refused(client: FlaskClient, version: str):
    schema = "<View><Text name='t' value='$t'/><TextArea name='a' toName='t'/></View>"
    answer = client.post("/setup", json=recorded("setup_request") | {"schema": schema, "project": "77.1"})
    assert answer.status_code == 500
    assert "TimelineLabels" in answer.text


def test_what_people_do_is_taken_note_of(client: FlaskClient, version: str):
    body = recorded("webhook_annotation_created")
    body["project"]["label_config"] = XML
    assert client.post("/webhook", json=body).status_code == 201


def test_health_answers(client: FlaskClient):
    assert client.get("/health").json["status"] == "UP"
