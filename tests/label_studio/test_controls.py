from __future__ import annotations

import re

import pytest
from label_studio_sdk.label_interface import LabelInterface

from labeling_configs import LABELS, config_xml
from omni_timeline.errors import LabelConfigError
from omni_timeline.label_studio.controls import CONTROLS, Control, FrameSpan, SecondsSpan
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.segments import Segment


@pytest.mark.parametrize("kind", CONTROLS)
def test_every_kind_of_control_works_alone_and_is_named_where_there_is_none(kind: type[Control]):
    """Holds for a new kind as soon as it is in CONTROLS: its own example makes a config that is served both ways."""
    tag, media, *_ = re.findall(r"<(\w+)", kind.example)
    assert (tag.lower(), media.lower()) == (kind.kind, kind.media_kind)
    xml = (
        f'<View><{media} name="m" value="$v" sync="s"/><Video name="s" value="$v" sync="s"/>'
        f'<{tag} name="c" toName="m">{LABELS}</{tag}>'
        '<TextArea name="d" toName="m" perRegion="true"/></View>'
    )
    config = LabelConfig.from_xml(xml)
    assert [type(control) for control in config.controls] == [kind]
    segments = [Segment(1, 2, "Speech", "hello", 0.5), Segment(2, 3, "Action")]
    prediction = config.prediction(segments, duration=10.0, task_data={}, model_version="m")
    assert LabelInterface(xml).validate_prediction(prediction, return_errors=True) == []
    assert config.from_result(prediction["result"], task_data={}) == segments
    with pytest.raises(LabelConfigError, match=re.escape(kind.example)):
        LabelConfig.from_xml("<View/>")


@pytest.mark.parametrize("frames", [(0, 1), (2, 1), (1, 11), (1.0, 2), (True, 2), ("1", 2), (None, None)])
def test_a_span_of_frames_is_on_the_timeline(frames):
    assert FrameSpan(1, 10, 10).value() == {"ranges": [{"start": 1, "end": 10}]}
    with pytest.raises(ValueError, match="whole numbers with 1 <= start <= end <= 10"):
        FrameSpan(*frames, 10)


@pytest.mark.parametrize(
    "seconds", [(-0.1, 1), (2, 1), (1, 10.1), (True, 2), ("1", 2), (float("nan"), 2), (None, None)]
)
def test_a_span_of_seconds_is_in_the_sound(seconds):
    assert SecondsSpan(0, 10.0, 10).value() == {"start": 0, "end": 10.0, "channel": 0}
    with pytest.raises(ValueError, match="numbers with 0 <= start <= end <= 10"):
        SecondsSpan(*seconds, 10)


@pytest.mark.parametrize(
    ("attribute", "data", "rate"),
    [
        ("", {}, 24.0),
        ('frameRate="30"', {}, 30.0),
        ('framerate="29.97"', {}, 29.97),
        ('frameRate=" 25 "', {}, 25.0),
        ('frameRate="1e2"', {}, 100.0),
        ('frameRate="0.04"', {}, 25.0),  # below 1 it is the seconds of one frame
        ('frameRate="1"', {}, 1.0),
        ('frameRate="0"', {}, 24.0),
        ('frameRate="-5"', {}, 24.0),
        ('frameRate="fast"', {}, 24.0),
        ('frameRate="1_000"', {}, 24.0),  # a number to Python, none to JavaScript
        ('frameRate="３０"', {}, 24.0),
        ('frameRate="Infinity"', {}, 24.0),
        ('frameRate="1e-320"', {}, 24.0),
        ('frameRate="$fps"', {"fps": 30}, 30.0),
        ('frameRate="$fps"', {"fps": "29.97"}, 29.97),
        ('frameRate="$fps"', {"fps": 0.04}, 25.0),
        ('frameRate="$fps"', {}, 24.0),
        ('frameRate="$fps"', {"fps": None}, 24.0),
        ('frameRate="$fps"', {"fps": float("nan")}, 24.0),
        ('frameRate="$fps"', {"fps": 10**400}, 24.0),
        ('frameRate="$fps"', {"fps": {"value": 30}}, 24.0),
        ('frameRate="$meta.fps"', {"meta": {"fps": 50}}, 50.0),
        ('frameRate="$meta.fps"', {"meta.fps": 50}, 50.0),
        ('frameRate="$rates[1]"', {"rates": [25, 50]}, 50.0),
        ('frameRate="$rates[9]"', {"rates": [25, 50]}, 24.0),
        (f'frameRate="$rates[{"1" * 5000}]"', {"rates": [25, 50]}, 24.0),  # more digits than Python reads
    ],
)  # fmt: skip
def test_the_frame_rate_is_the_one_that_label_studio_will_use(attribute, data, rate):
    assert LabelConfig.from_xml(config_xml(video=attribute)).controls[0].frame_rate(data) == pytest.approx(rate)
