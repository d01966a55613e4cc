"""A project to learn from: short clips in which people call things by words of their own, most of them corrected.

Twelve tasks hold corrections, four do not. Start Training makes of the twelve what the four are predicted with.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from demo.label_studio import LabelStudio
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.segments import Segment
from omni_timeline.synthetic import COLORS, Scene, draw_scene, write_video

TITLE = "omni-timeline demo, to learn from"
LABEL_CONFIG = "demo/label_config_learning.xml"
CORRECTED, OTHERS = 12, 4
SEED = 700
SECONDS = (8.0, 12.0)  # of a clip
# What the people of the project call the things of the demo world; they do not mark tones.
CALLED = {f"{color} square": "forklift" if color == "red" else "pallet" for color in COLORS} | {
    f"{color} circle": "worker" for color in COLORS
}


def clips(folder: Path) -> list[Path]:
    """The clips, drawn once; those to correct come first."""
    return [_clip(folder / "clips", number) for number in range(CORRECTED + OTHERS)]


def correct(studio: LabelStudio, tasks: Mapping[str, int], config: str) -> int:
    """Submit what people would, in the tasks to correct that have no annotation yet, by the name of the clip.

    Returns how many these were.
    """
    labels, submitted = LabelConfig.from_xml(config), 0
    for number, task in enumerate(list(tasks.values())[:CORRECTED]):
        if studio.call("GET", f"/api/tasks/{task}/annotations/"):
            continue
        suggestions = studio.predictions(task)
        body = {
            "result": labels.to_result(marked(_scene(number)), duration=_scene(number).duration, task_data={}),
            "parent_prediction": suggestions[-1]["id"] if suggestions else None,
            "lead_time": 20.0,
        }
        studio.call("POST", f"/api/tasks/{task}/annotations/", json=body)
        submitted += 1
    return submitted


def marked(scene: Scene) -> tuple[Segment, ...]:
    """What the people of the project mark of a scene."""
    return tuple(Segment(each.start, each.end, CALLED[each.label]) for each in scene.events if each.label in CALLED)


def _scene(number: int) -> Scene:
    rng = np.random.default_rng(SEED + number)
    return draw_scene(rng, round(float(rng.uniform(*SECONDS)), 1), sound=number % 3 == 0)


def _clip(folder: Path, number: int) -> Path:
    path = folder / f"yard-{number + 1:02}.mp4"
    if not path.exists():
        folder.mkdir(exist_ok=True)
        drawn = write_video(_scene(number), path.with_suffix(".part.mp4"), fps=10, height=144, width=144)
        drawn.rename(path)
    return path
