from __future__ import annotations

import pytest

from labeling_configs import XML, audio_xml, config_xml
from omni_timeline.errors import LabelConfigError
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.label_studio.project_settings import ProjectSettings


@pytest.mark.parametrize(
    ("attributes", "chosen"),
    [
        ("", ProjectSettings()),
        ('model_prompt="" model_frames=" "', ProjectSettings()),
        ('model_prompt=" What is said? "', ProjectSettings(prompt="What is said?")),
        ('MODEL_FRAMES="24"', ProjectSettings(frames=24)),
        ('model_window_seconds="30"', ProjectSettings(window_seconds=30.0)),
        ('model_window_seconds="12.5"', ProjectSettings(window_seconds=12.5)),
        ('model_window_seconds="Auto"', ProjectSettings(window_seconds="auto")),
        ('model_window_seconds="Whole"', ProjectSettings(window_seconds="whole")),
        ('model_score_threshold="0.25"', ProjectSettings(score_threshold=0.25)),
        ('model_score_threshold="0"', ProjectSettings(score_threshold=0.0)),
    ],
)
@pytest.mark.parametrize("xml", [XML, audio_xml()])
def test_a_project_decides_by_attributes_of_its_control_tag(attributes, chosen, xml):
    control = 'toName="video" >' if "TimelineLabels" in xml else 'toName="audio">'
    with_attributes = xml.replace(control, f"{control[:-1]} {attributes}>", 1)
    assert LabelConfig.from_xml(with_attributes).settings == chosen


@pytest.mark.parametrize(
    ("attribute", "allowed"),
    [
        ('model_frames="0"', "a whole number from 1 to 768"),
        ('model_frames="-2"', "a whole number from 1 to 768"),
        ('model_frames="50.5"', "a whole number from 1 to 768"),
        ('model_frames="1e9"', "a whole number from 1 to 768"),
        ('model_frames="many"', "a whole number from 1 to 768"),
        ('model_window_seconds="1.9"', 'seconds, at least 2, "auto" or "whole"'),
        ('model_window_seconds="30s"', 'seconds, at least 2, "auto" or "whole"'),
        ('model_window_seconds="Infinity"', 'seconds, at least 2, "auto" or "whole"'),
        ('model_score_threshold="1.01"', "a number from 0 to 1"),
        ('model_score_threshold="50%"', "a number from 0 to 1"),
        ('model_score_threshold="nan"', "a number from 0 to 1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_its_name_and_what_is_allowed(attribute, allowed):
    with pytest.raises(LabelConfigError) as refusal:
        LabelConfig.from_xml(config_xml(timeline=attribute))
    assert str(refusal.value) == f"{attribute} is invalid: must be {allowed}."


def test_settings_on_several_control_tags_must_agree():
    xml = """<View><Video name="v" value="$v"/>
        <TimelineLabels name="a" toName="v" model_frames="{}"><Label value="A"/></TimelineLabels>
        <TimelineLabels name="b" toName="v" model_frames="24"><Label value="B"/></TimelineLabels></View>"""
    assert LabelConfig.from_xml(xml.format("24")).settings.frames == 24
    with pytest.raises(LabelConfigError, match='model_frames="25" and model_frames="24" contradict'):
        LabelConfig.from_xml(xml.format("25"))
