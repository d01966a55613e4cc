"""From files as annotators have them to segments: what is found is at the seconds at which the player shows it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from omni_timeline.metrics import event_f1
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.pipeline import Pipeline
from omni_timeline.segments import Segment
from omni_timeline.synthetic import LABELS, Scene, Shape, write_video

SQUARE = Shape(4.0, 8.0, "red", "square", brightness=1.0, half_side=0.15, path=((0.4, 0.5), (0.6, 0.5)))
X264 = ("-c:v", "libx264", "-preset", "veryfast", "-g", "25")
WEB = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-g", "25", "-c:a", "libopus")


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True)


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s without sound; a red square from 4 to 8 s."""
    path = tmp_path_factory.mktemp("clock") / "square.mp4"
    write_video(Scene(12.0, (SQUARE,)), path)
    return path


def sounding(begin: float, end: float, until: float) -> tuple[str, ...]:
    """Arguments of ffmpeg for a sound track of `until` seconds with a tone."""
    shaped = f"aevalsrc=0.3*sin(2*PI*2000*t)*between(t\\,{begin}\\,{end}):s=48000:d={until}"
    return ("-f", "lavfi", "-i", shaped)


FILES = {
    "late-camera.webm": ("-itsoffset", "5", "-i", "SQUARE", *sounding(2, 4, 20), "-map", "0:v", "-map", "1:a", *WEB),
    "picture-stops.webm": ("-t", "9", "-i", "SQUARE", *sounding(20, 25, 30), "-map", "0:v", "-map", "1:a", *WEB),
    "trimmed.mp4": ("-ss", "2.5", "-i", "SQUARE", "-c", "copy"),
    "late.ts": ("-itsoffset", "3", "-i", "SQUARE", *sounding(1, 2, 15), "-map", "0:v", "-map", "1:a", *X264),
}
EVENTS = {
    "late-camera.webm": [Segment(2, 4, "high tone"), Segment(9, 13, "red square")],
    "picture-stops.webm": [Segment(4, 8, "red square"), Segment(20, 25, "high tone")],
    "trimmed.mp4": [Segment(1.5, 5.5, "red square")],
    "late.ts": [Segment(1, 2, "high tone"), Segment(7, 11, "red square")],
}


@pytest.mark.parametrize("name", FILES)
def test_events_are_found_at_the_players_seconds(demo_model: OmniModel, square: Path, tmp_path: Path, name: str):
    path = tmp_path / name
    ffmpeg(*(str(square) if argument == "SQUARE" else argument for argument in FILES[name]), path)
    found = Pipeline(demo_model).predict(path, PredictOptions(labels=LABELS))
    shown = [(segment.start, segment.end, segment.label) for segment in found.segments]
    assert event_f1(EVENTS[name], found.segments, 0.8).f1 == 1.0, shown
    assert found.warnings == ()
