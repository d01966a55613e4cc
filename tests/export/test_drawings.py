from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from omni_timeline.export import drawings as views
from omni_timeline.media.video import load_clip
from omni_timeline.pipeline.prediction import Prediction
from omni_timeline.segments import Segment


def prediction(*segments: Segment, duration: float = 10.0, warnings: tuple[str, ...] = ()) -> Prediction:
    return Prediction(Path("clips/one.mp4"), duration, segments, "demo-1a2b3c4d-9f8e7d", "", warnings)


def share_of(picture: Image.Image, colour: str) -> float:
    """Which part of the picture is exactly of this colour."""
    return float((np.asarray(picture) == ImageColor.getrgb(colour)).all(-1).mean())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00"),
        (7.25, "7.25"),
        (59.996, "1:00.00"),  # not 60.00
        (75.5, "1:15.50"),
        (3675.0, "1:01:15.00"),
        (36000.0, "10:00:00.00"),
    ],
)
def test_a_clock_is_read_as_people_write_it(seconds: float, text: str):
    assert views.clock(seconds) == text


def test_the_contact_sheet_holds_every_pixel_the_model_sees(silent_video: Path):
    clip = load_clip(silent_video, frames=12, resize=lambda height, width: (56, 56))
    sheet = np.asarray(views.contact_sheet(clip, columns=5))
    tile = 168  # 3 x 56, the first whole factor that reaches SHEET_TILE
    for index, frame in enumerate(clip.frames):
        row, column = divmod(index, 5)
        left, top = views.MARGIN + column * (tile + 8), 44 + row * (tile + 28)
        assert (sheet[top : top + tile : 3, left : left + tile : 3] == frame.transpose(1, 2, 0)).all()


@pytest.mark.parametrize(("height", "width"), [(56, 28), (28, 1400), (1008, 560), (700, 700)])
def test_a_contact_sheet_of_any_frame_size_fits_a_screen(silent_video: Path, height: int, width: int):
    clip = load_clip(silent_video, frames=4, resize=lambda *_: (height, width))
    sheet = views.contact_sheet(clip)
    assert sheet.width < 4 * (views.SHEET_TILE_LIMIT + 8) + 2 * views.MARGIN + 200
    assert sheet.height < views.SHEET_TILE_LIMIT + 200


def test_a_segment_is_drawn_from_its_start_to_its_end():
    picture = views.timeline([prediction(Segment(2.5, 5.0, "red square"))])
    bar = (np.asarray(picture) == ImageColor.getrgb(views.PREDICTED_COLOUR)).all(-1).any(0).nonzero()[0]
    left = views.MARGIN + 90 + 20  # of the axis, where labels are short
    right = views.TIMELINE_WIDTH - views.MARGIN
    assert bar[0] == pytest.approx(left + (right - left) * 0.25, abs=2)
    assert bar[-1] == pytest.approx(left + (right - left) * 0.5, abs=2)


def test_the_truth_is_drawn_only_where_it_is_known():
    one = prediction(Segment(1.0, 9.0, "red square"))
    assert share_of(views.timeline([one]), views.TRUTH_COLOUR) == 0.0
    with_truth = views.timeline([one], {one.path: [Segment(1.0, 9.0, "red square")]})
    assert share_of(with_truth, views.TRUTH_COLOUR) > 0.03


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
    picture = views.timeline([one, one], {one.path: [Segment(0.0, 0.02, "blink")]})
    assert picture.width == views.TIMELINE_WIDTH


def test_the_table_lists_segments_and_warnings():
    table = views.prediction_table(
        prediction(Segment(1.0, 2.5, "red square", score=0.876), warnings=("the sound ends early",))
    )
    assert table.splitlines() == [
        "clips/one.mp4  10.00 s  demo-1a2b3c4d-9f8e7d",
        "  start   end  score  label",
        "   1.00  2.50   0.88  red square",
        "  warning: the sound ends early",
    ]


def test_the_table_shows_texts_where_there_are_any():
    table = views.prediction_table(prediction(Segment(1.0, 2.5, "speech", "hello"), Segment(70.0, 75.0, "music")))
    assert table.splitlines()[1:] == [
        "    start      end  score  label   text",
        "     1.00     2.50         speech  hello",
        "  1:10.00  1:15.00         music",
    ]


def test_a_video_without_events_says_so():
    assert "no events" in views.prediction_table(prediction())


def test_predicted_and_true_segments_that_match_share_a_line():
    found = prediction(Segment(1.0, 3.0, "red square"), Segment(6.0, 7.0, "low tone"))
    truth = [Segment(1.2, 3.1, "red square"), Segment(3.5, 5.0, "blue circle")]
    assert views.prediction_table(found, truth).splitlines()[1:] == [
        "  start   end  predicted   start   end  true",
        "   1.00  3.00  red square   1.20  3.10  red square",
        "               -            3.50  5.00  blue circle",
        "   6.00  7.00  low tone                 -",
        "  1 of 2 events found, F1 at IoU 0.5: 0.50, start and end off by 0.15 s (median)",
    ]


def test_the_inspection_lists_every_grid_with_its_frames():
    window = {
        "start": 0.0, "end": 2.0, "frame_seconds": [0.0, 0.5, 1.0], "second_per_grid": 1.0, "grid_seconds": [0.0, 1.0],
        "audio_tokens": 0, "video_tokens": 8, "prompt_tokens": 60,
    }  # fmt: skip
    report = {
        "video": "a.mp4",
        "duration": 2.0,
        "fps": 30.0,
        "has_audio": False,
        "prompt": "What?\nWhen?",
        "frames_per_grid": 2,
        "windows": [window],
    }
    lines = views.inspection_table(report).splitlines()
    assert lines[1] == "  asked: What? / When?"
    assert lines[3:] == [
        "  grid    frames at  the model's clock",
        "     0  0.000 0.500              0.000",
        "     1        1.000              1.000",
    ]
