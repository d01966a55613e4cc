from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from omni_timeline.export import drawings
from omni_timeline.media.video import load_clip
from omni_timeline.pipeline.prediction import Prediction
from omni_timeline.segments import Segment


def prediction(*segments: Segment, duration: float = 10.0, warnings: tuple[str, ...] = ()) -> Prediction:
    return Prediction(Path("clips/one.mp4"), duration, segments, "demo-1a2b3c4d-9f8e7d", "", warnings)


def share_of(picture: Image.Image, colour: str) -> float:
    """Which part of the picture is exactly of this colour."""
    return float((np.asarray(picture) == ImageColor.getrgb(colour)).all(-1).mean())


def test_the_contact_sheet_holds_every_pixel_the_model_sees(silent_video: Path):
    clip = load_clip(silent_video, frames=12, resize=lambda height, width: (56, 56))
    sheet = np.asarray(drawings.contact_sheet(clip, columns=5))
    tile = 168  # 3 x 56, the first whole factor that reaches SHEET_TILE
    for index, frame in enumerate(clip.frames):
        row, column = divmod(index, 5)
        left, top = drawings.MARGIN + column * (tile + 8), 44 + row * (tile + 28)
        assert (sheet[top : top + tile : 3, left : left + tile : 3] == frame.transpose(1, 2, 0)).all()


@pytest.mark.parametrize(("height", "width"), [(56, 28), (28, 1400), (1008, 560), (700, 700)])
def test_a_contact_sheet_of_any_frame_size_fits_a_screen(silent_video: Path, height: int, width: int):
    clip = load_clip(silent_video, frames=4, resize=lambda *_: (height, width))
    sheet = drawings.contact_sheet(clip)
    assert sheet.width < 4 * (drawings.SHEET_TILE_LIMIT + 8) + 2 * drawings.MARGIN + 200
    assert sheet.height < drawings.SHEET_TILE_LIMIT + 200


def test_a_segment_is_drawn_from_its_start_to_its_end():
    picture = drawings.timeline([prediction(Segment(2.5, 5.0, "red square"))])
    bar = (np.asarray(picture) == ImageColor.getrgb(drawings.PREDICTED_COLOUR)).all(-1).any(0).nonzero()[0]
    left = drawings.MARGIN + 90 + 20  # of the axis, where labels are short
    right = drawings.TIMELINE_WIDTH - drawings.MARGIN
    assert bar[0] == pytest.approx(left + (right - left) * 0.25, abs=2)
    assert bar[-1] == pytest.approx(left + (right - left) * 0.5, abs=2)


def test_the_truth_is_drawn_only_where_it_is_known():
    one = prediction(Segment(1.0, 9.0, "red square"))
    assert share_of(drawings.timeline([one]), drawings.TRUTH_COLOUR) == 0.0
    with_truth = drawings.timeline([one], {one.path: [Segment(1.0, 9.0, "red square")]})
    assert share_of(with_truth, drawings.TRUTH_COLOUR) > 0.03


@pytest.mark.parametrize(
    "one",
    [
        prediction(),
        prediction(Segment(0.0, 0.04, "blink"), duration=0.04),
        prediction(Segment(0.0, 36000.0, "a day at the office"), duration=36000.0),
        prediction(*(Segment(i / 10, i / 10 + 0.05, f"label {i}") for i in range(40))),
        prediction(Segment(1.0, 2.0, "a label that goes on and on " * 20, "and so does its text " * 50)),
        prediction(Segment(1.0, 8.0, "红色方块", "出现在画面中央")),
    ],
    ids=["nothing", "one frame", "ten hours", "forty labels", "long words", "Chinese"],
)
def test_a_timeline_can_be_drawn_of_anything(one: Prediction):
    picture = drawings.timeline([one, one], {one.path: [Segment(0.0, 0.02, "blink")]})
    assert picture.width == drawings.TIMELINE_WIDTH
