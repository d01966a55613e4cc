"""The page shows, at a region's first and last frame, what the video shows when the segment starts and ends.

Within half a frame of the timeline, which is as near as whole frames come.

The videos are rulers: each frame shows its own number, so a look at the screen says what time of the video it is,
whatever Label Studio, the browser and the file make of frame rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, cycle, islice

import pytest

from media_files import Ruler, every
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.media.video import probe
from omni_timeline.segments import Segment

from .editor import Editor
from .label_studio import LabelStudio

pytestmark = pytest.mark.e2e

XML = """<View><Video name="video" value="$video" {}/>
    <TimelineLabels name="events" toName="video"><Label value="Event"/></TimelineLabels></View>"""
SEEKING = 0.005  # s; the editor goes up to 4 ms beyond a frame's time, so that no rounding shows the one before
SEGMENTS = [Segment(0.0, 0.77, "Event"), Segment(1.234, 2.345, "Event"), Segment(3.21, 4.9, "Event")]
UNEVEN = list(accumulate(islice(cycle([Fraction(1, 50), Fraction(1, 12), Fraction(1, 25)]), 104), initial=Fraction(0)))


@dataclass(frozen=True)
class Case:
    """A video of about 5 s and the frame rate that Label Studio is told, if it is.

    Attributes:
        times: seconds of the video's frames.
        fps: the task's own `fps`, where the config asks for it.
        length: how many frames the page then counts.
        time_base: seconds of the file's ticks; None: as long as a frame.
    """

    times: Sequence[Fraction]
    attribute: str
    fps: str | None
    length: int
    time_base: Fraction | None = None


CASES = {
    "23.976": Case(every(Fraction(24000, 1001), 120), 'frameRate="$fps"', "23.976", 120),
    "25": Case(every(25, 125), 'frameRate="25"', None, 125),
    "29.97": Case(every(Fraction(30000, 1001), 150), 'frameRate="$fps"', "29.97", 150),
    "60": Case(every(60, 300), 'frameRate="$fps"', "60", 300),
    "VFR": Case(UNEVEN, 'frameRate="$fps"', "30", 151, Fraction(1, 600)),
    "left out": Case(every(Fraction(30000, 1001), 150), "", None, 120),
    "asked for and missing": Case(every(25, 125), 'frameRate="$fps"', None, 120),
    "wrong": Case(every(25, 125), 'frameRate="$fps"', "60", 300),
    "below 1": Case(every(25, 125), 'frameRate="0.04"', None, 125),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_screen_shows_the_time_that_the_segment_says(
    studio: LabelStudio, editor: Editor, case: Case, tmp_path_factory: pytest.TempPathFactory
):
    xml = XML.format(case.attribute)
    config = LabelConfig.from_xml(xml)
    video = Ruler(case.times, size=(320, 240), time_base=case.time_base).write(
        tmp_path_factory.mktemp("ruler") / "ruler.mp4"
    )
    data = {} if case.fps is None else {"fps": case.fps}
    duration = probe(video).duration
    prediction = config.prediction(SEGMENTS, duration=duration, task_data=data, model_version="ruler")
    config.check(prediction, duration=duration, task_data=data)
    project = studio.create_project("Frame accuracy", xml)
    task = studio.create_task(project, studio.upload(project, video), **data)
    studio.call("POST", "/api/predictions/", json={"task": task, **prediction})

    editor.open(project, task, regions=len(SEGMENTS))
    assert editor.timeline_length() == case.length
    frame = 1 / config.controls[0].frame_rate(data)
    near = frame / 2 + SEEKING
    for segment, region in zip(SEGMENTS, sorted(editor.regions(), key=lambda region: region["frames"]), strict=True):
        [[first, last]] = region["frames"]
        assert seconds_from(segment.start, case.times, editor.show(first)) <= near
        # The last frame of a region belongs to it: the segment ends when that frame does.
        assert seconds_from(segment.end - frame, case.times, editor.show(last)) <= near


def seconds_from(moment: float, times: Sequence[Fraction], number: int) -> float:
    """How long before or after a moment the picture with this number is on the screen; 0 if it is there right then."""
    begin, end = times[number], times[number + 1] if number + 1 < len(times) else float("inf")
    return float(max(begin - moment, moment - end, 0.0))
