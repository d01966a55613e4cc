"""Tasks, as the tests of the queue ask for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.service.journal import Journal
from omni_timeline.service.pending import Item, Pending

VERSION = "v1"
TIMELINE = '<TimelineLabels name="t" toName="v"><Label value="A"/></TimelineLabels>'
XML = f'<View><Video name="v" value="$video"/>{TIMELINE}</View>'
CONFIG = LabelConfig.from_xml(XML)


def task(number: int | None, version: str = VERSION, xml: str = XML, **data: Any) -> TaskRequest:
    return TaskRequest(number, "1", {"video": f"{number}.mp4", **data}, xml, CONFIG, PredictOptions(), version)


def item(number: int, version: str = VERSION, **data: Any) -> Item:
    return Item(number, version, task(number, version, **data).content)


def entry(version: str = VERSION) -> dict[str, Any]:
    return {"model_version": version, "result": []}


def renew(pending: Pending, version: str = VERSION) -> TaskRequest:
    """What the server would ask for today."""
    data = pending.data
    return TaskRequest(pending.item.task, pending.project, data, pending.xml, CONFIG, PredictOptions(), version)


def in_memory() -> Journal:
    """A journal where no file can be."""
    return Journal(Path("/dev/null/journal.sqlite"))
