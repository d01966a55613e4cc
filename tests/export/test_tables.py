from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from omni_timeline.export.tables import clock, inspection_table, prediction_table
from omni_timeline.pipeline.prediction import Prediction
from omni_timeline.segments import Segment


def prediction(*segments: Segment, warnings: tuple[str, ...] = ()) -> Prediction:
    return Prediction(Path("clips/one.mp4"), 10.0, segments, "demo-1a2b3c4d-9f8e7d", "", warnings)


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
    assert clock(seconds) == text


def test_the_table_lists_segments_and_warnings():
    table = prediction_table(
        prediction(Segment(1.0, 2.5, "red square", score=0.876), warnings=("the sound ends early",))
    )
    assert table.splitlines() == [
        "clips/one.mp4  10.00 s  demo-1a2b3c4d-9f8e7d",
        "  start   end  score  label",
        "   1.00  2.50   0.88  red square",
        "  warning: the sound ends early",
    ]


def test_the_table_says_where_looks_differ_and_how_many_windows_were_looked_at_in_shorter_ones():
    found = replace(
        prediction(
            Segment(1.0, 2.5, "red square", score=0.4, looks="differ"), Segment(3.0, 4.0, "low tone", score=0.9)
        ),
        windows=15,
        in_shorter={"unsure": 1, "crowded": 2},
    )
    assert prediction_table(found).splitlines()[1:] == [
        "  start   end  score  looks   label",
        "   1.00  2.50   0.40  differ  red square",
        "   3.00  4.00   0.90          low tone",
        "  3 of 15 windows were looked at in shorter ones: 2 crowded, 1 unsure",
    ]


def test_the_table_shows_texts_where_there_are_any():
    table = prediction_table(prediction(Segment(1.0, 2.5, "speech", "hello"), Segment(70.0, 75.0, "music")))
    assert table.splitlines()[1:] == [
        "    start      end  score  label   text",
        "     1.00     2.50         speech  hello",
        "  1:10.00  1:15.00         music",
    ]


def test_a_video_without_events_says_so():
    assert "no events" in prediction_table(prediction())


def test_predicted_and_true_segments_that_match_share_a_line():
    found = prediction(Segment(1.0, 3.0, "red square"), Segment(6.0, 7.0, "low tone"))
    truth = [Segment(1.2, 3.1, "red square"), Segment(3.5, 5.0, "blue circle")]
    assert prediction_table(found, truth).splitlines()[1:] == [
        "  start   end  predicted   start   end  true",
        "   1.00  3.00  red square   1.20  3.10  red square",
        "               -            3.50  5.00  blue circle",
        "   6.00  7.00  low tone                 -",
        "  1 of 2 events found, F1 at IoU 0.5: 0.50, start and end off by 0.15 s (median)",
    ]


def test_the_inspection_lists_every_grid_with_its_frames():
    window = {
        "start": 0.0, "end": 2.0, "frame_seconds": [0.0, 0.5, 1.0], "second_per_grid": 1.0, "grid_seconds": [0.0, 1.0],
        "audio_tokens": 0, "video_tokens": 8, "prompt_tokens": 60, "held": [{"start": 0.5, "end": 2.0, "picture": 0.5}],
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
    lines = inspection_table(report).splitlines()
    assert lines[1] == "  asked: What? / When?"
    assert lines[3:] == [
        "  grid    frames at  the model's clock",
        "     0  0.000 0.500              0.000",
        "     1        1.000              1.000",
        "  held: the picture of 0.50 from 0.50 to 2.00",
    ]
