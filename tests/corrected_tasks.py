"""Tasks of Label Studio with corrections in them, as its export and its interface write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.segments import Segment

XML = """<View><Video name="video" value="$video" frameRate="25"/><TimelineLabels name="events" toName="video">
<Label value="speech"/><Label value="music"/><Label value="door"/></TimelineLabels>
<TextArea name="words" toName="video" perRegion="true"/></View>"""
CONFIG = LabelConfig.from_xml(XML)
DURATION = 60.0  # s of every video


def address(number: int) -> str:
    return f"/data/local-files/?d=videos/{number}.mp4"


def prediction(number: int, segments: Sequence[Segment], version: str = "m-1") -> dict[str, Any]:
    """A stored prediction."""
    return {"id": number, **CONFIG.prediction(segments, duration=DURATION, task_data={}, model_version=version)}


def annotation(number: int, segments: Sequence[Segment], person: int = 1, **fields: Any) -> dict[str, Any]:
    """A submitted annotation; its regions have ids that follow from their content."""
    return {
        "id": number,
        "completed_by": person,
        "result": CONFIG.to_result(segments, duration=DURATION, task_data={}),
        "was_cancelled": False,
        "ground_truth": False,
        "updated_at": f"2026-11-26T00:00:{number % 60:02}Z",
        "lead_time": 30.0,
        "prediction": {},
        "parent_prediction": None,
        **fields,
    }


def task(number: int, *annotations: dict[str, Any], predictions: Sequence[Any] = (), **fields: Any) -> dict[str, Any]:
    """A task with its annotations."""
    return {
        "id": number,
        "project": 7,
        "data": {"video": address(number)},
        "annotations": list(annotations),
        "predictions": list(predictions),
        **fields,
    }
