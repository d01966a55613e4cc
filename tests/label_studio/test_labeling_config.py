from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

from omni_timeline.errors import LabelConfigError, OmniTimelineError
from omni_timeline.label_studio.labeling_config import LabelConfig, ProjectSettings
from omni_timeline.segments import Segment
from places import DOCS, FIXTURES, LABEL_CONFIG

REQUESTS = FIXTURES / "label-studio"
MANUAL = DOCS / "label-config.md"
LABELS = '<Label value="Speech"/><Label value="Action"/><Label value="Scene Change"/>'


def config_xml(*, video: str = "", timeline: str = "", labels: str = LABELS, text_area: bool = True) -> str:
    text = '<TextArea name="description" toName="video" perRegion="true"/>' if text_area else ""
    return (
        f'<View><Video name="video" value="$video" {video}/>'
        f'<TimelineLabels name="events" toName="video" {timeline}>{labels}</TimelineLabels>{text}</View>'
    )


def audio_xml(*, audio: str = 'value="$video"', video: str | None = 'value="$video"', text_area: bool = True) -> str:
    shown = "" if video is None else f'<Video name="video" {video} sync="media"/>'
    text = '<TextArea name="description" toName="audio" perRegion="true"/>' if text_area else ""
    return (
        f'<View>{shown}<Labels name="labels" toName="audio">{LABELS}</Labels>'
        f'<Audio name="audio" {audio} sync="media"/>{text}</View>'
    )


XML = config_xml()
CONFIG = LabelConfig.from_xml(XML)


def complaints(xml: str, result: list[dict], **prediction: object) -> list[str]:
    """What Label Studio's own SDK finds wrong with a prediction, and what it lets pass but the page cannot show."""
    found = LabelInterface(xml).validate_prediction({"result": result, **prediction}, return_errors=True)
    for region in result:
        for span in region["value"].get("ranges", []):
            if not (type(span["start"]) is type(span["end"]) is int and 1 <= span["start"] <= span["end"]):
                found.append(f"frames {span}")
    labels = [region["id"] for region in result if region["type"] != "textarea"]
    if len(set(labels)) < len(labels):
        found.append("ids are not unique")
    return found


# --- Reading the config ----------------------------------------------------------------------------------------------


def test_the_config_that_the_readme_says_to_paste_is_understood():
    config = LabelConfig.from_xml(LABEL_CONFIG.read_text(encoding="utf-8"))
    assert len(config.labels) == 10
    assert (config.controls[0].media, config.video_field, config.controls[0].text_area) == (
        "video",
        "video",
        "description",
    )
    assert config.controls[0].frame_rate({}) == 25.0


@pytest.mark.parametrize("xml", re.findall(r"```xml\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.DOTALL))
def test_the_examples_of_the_manual_are_served(xml):
    assert LabelConfig.from_xml(xml).video_field == "video"
    LabelInterface(xml).validate()  # raises where Label Studio would refuse it


@pytest.mark.parametrize("request_file", ["predict_request_open_task.json", "predict_request_interactive_from_ui.json"])
def test_the_config_of_a_recorded_request_is_understood(request_file):
    body = json.loads((REQUESTS / request_file).read_text())[0]["body"]
    config = LabelConfig.from_xml(body["label_config"])
    data = body["tasks"][0]["data"]
    assert config.labels[:2] == ("Speech", "Action")
    assert config.controls[0].frame_rate(data) == 30.0
    assert data[config.video_field].startswith("/data/")


def test_tags_are_found_wherever_they_are_and_in_any_case():
    config = LabelConfig.from_xml(
        """<?xml version="1.0" encoding="UTF-8"?>
        <View><Style>.a {}</Style><View className="a"><Text name="t" value="$t"/>
          <View><video NAME="v" Value="$clip" FRAMERATE="30"/></View>
          <Choices name="c" toName="t"><Choice value="x"/></Choices>
          <View><timelinelabels name="l" toname="v"><View><label value="A"/></View></timelinelabels></View>
          <TextArea name="note" toName="v"/><TextArea name="d" toName="v" PerRegion="true"/>
        </View></View><!-- the end -->"""
    )
    assert (config.controls[0].media, config.video_field, config.labels, config.controls[0].text_area) == (
        "v",
        "clip",
        ("A",),
        "d",
    )
    assert config.controls[0].frame_rate({}) == 30.0


@pytest.mark.parametrize(
    ("xml", "sentence"),
    [
        ("", "is empty; it needs <TimelineLabels"),
        (" \n", "is empty"),
        ("<View>", "not well-formed XML"),
        ("not XML", "not well-formed XML"),
        ("<View>\ud800</View>", "not well-formed XML"),
        ("<View/>", "found neither"),
        ('<View><Image name="i" value="$i"/><Choices name="c" toName="i"><Choice value="x"/></Choices></View>',
         'found <Image>, <Choices toName="i">'),
        ('<View><Video name="v" value="$v"/></View>', "found <Video>"),
        (f'<View><Audio name="a" value="$a"/><TimelineLabels name="t" toName="a">{LABELS}</TimelineLabels></View>',
         'found <Audio>, <TimelineLabels toName="a">'),
        (f'<View><Video name="v" value="$v"/><TimelineLabels name="t" toName="w">{LABELS}</TimelineLabels></View>',
         'found <Video>, <TimelineLabels toName="w">'),
        (f'<View><Video name="v" value="$v"/><TimelineLabels toName="v">{LABELS}</TimelineLabels></View>',
         "<TimelineLabels> of the labeling config needs a name"),
        ('<View><Video name="v" value="$v"/><TimelineLabels name="t" toName="v"/></View>',
         '<TimelineLabels name="t"> needs <Label value'),
        ('<View><Video name="v" value="$v"/><TimelineLabels name="t" toName="v" value="$labels"/></View>',
         'labels from the task\'s data, as in value="$labels"'),
        ('<View><Video name="v" value="$v"/><TimelineLabels name="t" toName="v"><Label/></TimelineLabels></View>',
         "needs <Label value"),
        (f'<View><Video name="v" value="a.mp4"/><TimelineLabels name="t" toName="v">{LABELS}</TimelineLabels></View>',
         'needs value="$field"'),
        (f'<View><Video name="v"/><TimelineLabels name="t" toName="v">{LABELS}</TimelineLabels></View>',
         'needs value="$field"'),
        (config_xml(timeline='model_default_label="Noise"'), 'model_default_label="Noise" is none of the labels'),
        # A few lines of entities can grow to gigabytes.
        ('<!DOCTYPE v [<!ENTITY a "aaaa">]><View>&a;</View>', "must not have a DOCTYPE"),
    ],
)  # fmt: skip
def test_a_config_without_a_place_for_segments_is_refused_with_the_tag_that_is_needed(xml, sentence):
    with pytest.raises(LabelConfigError) as refusal:
        LabelConfig.from_xml(xml)
    assert sentence in str(refusal.value)


def test_of_several_videos_the_first_with_a_timeline_counts():
    xml = f"""<View><Video name="a" value="$a"/><Video name="b" value="$b"/>
        <TimelineLabels name="t" toName="b">{LABELS}</TimelineLabels>
        <TimelineLabels name="u" toName="a"><Label value="X"/></TimelineLabels></View>"""
    config = LabelConfig.from_xml(xml)
    assert (config.controls[0].media, config.video_field, config.labels) == (
        "b",
        "b",
        ("Speech", "Action", "Scene Change"),
    )


def test_several_timelines_of_one_video_each_get_their_own_labels():
    xml = """<View><Video name="v" value="$v"/>
        <TimelineLabels name="who" toName="v"><Label value="Ann"/><Label value="Bob"/></TimelineLabels>
        <TimelineLabels name="what" toName="v"><Label value="goal"/></TimelineLabels></View>"""
    config = LabelConfig.from_xml(xml)
    result = config.to_result([Segment(0, 1, "Bob"), Segment(1, 2, "Goal")], duration=10, task_data={})
    assert [region["from_name"] for region in result] == ["who", "what"]
    assert complaints(xml, result) == []


@pytest.mark.parametrize(
    ("xml", "field"),
    [
        (audio_xml(), "video"),
        (audio_xml(video=None, audio='value="$clip"'), "clip"),
        (audio_xml(audio='value="$sound"'), "video"),  # they play together, so the video is what there is to see
        (audio_xml(audio='value="$sound"').replace('sync="media"', "", 1), "sound"),
        (audio_xml(audio='value="$sound"').replace('sync="media"', 'sync="audio"', 1), "video"),
        (audio_xml().replace("<Audio", "<AudioPlus"), "video"),
    ],
)
def test_labels_on_an_audio_are_served_too(xml, field):
    config = LabelConfig.from_xml(xml)
    [control] = config.controls
    assert (config.video_field, control.media, control.kind) == (field, "audio", "labels")
    assert config.labels == ("Speech", "Action", "Scene Change")


def test_a_timeline_and_an_audio_of_the_same_file_each_get_their_own_labels():
    """What is seen on the one, what is heard on the other."""
    xml = f"""<View><Labels name="heard" toName="a"><Label value="Music"/><Label value="Speech"/></Labels>
        <Video name="v" value="$v" sync="m"/><Audio name="a" value="$v" sync="m"/>
        <TimelineLabels name="seen" toName="v">{LABELS}</TimelineLabels></View>"""
    config = LabelConfig.from_xml(xml)
    assert config.labels == ("Speech", "Action", "Scene Change", "Music")
    segments = [Segment(0, 1, "Speech"), Segment(2, 3, "Music")]
    result = config.to_result(segments, duration=10, task_data={})
    assert [region["from_name"] for region in result] == ["seen", "heard"]
    assert complaints(xml, result) == []
    assert config.from_result(result, task_data={}) == segments


def test_a_control_of_another_file_is_left_alone():
    xml = XML.replace(
        "</View>", '<Audio name="a" value="$other"/><Labels name="l" toName="a"><Label value="X"/></Labels></View>'
    )
    assert [control.name for control in LabelConfig.from_xml(xml).controls] == ["events"]


# --- A project's own settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "chosen"),
    [
        ("", ProjectSettings()),
        ('model_prompt="" model_frames=" "', ProjectSettings()),
        ('model_prompt=" What is said? "', ProjectSettings(prompt="What is said?")),
        ('MODEL_FRAMES="24"', ProjectSettings(frames=24)),
        ('model_window_seconds="30"', ProjectSettings(window_seconds=30.0)),
        ('model_window_seconds="12.5"', ProjectSettings(window_seconds=12.5)),
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
        ('model_window_seconds="1.9"', 'a number of seconds, at least 2, or "whole"'),
        ('model_window_seconds="30s"', 'a number of seconds, at least 2, or "whole"'),
        ('model_window_seconds="Infinity"', 'a number of seconds, at least 2, or "whole"'),
        ('model_score_threshold="1.01"', "a number from 0 to 1"),
        ('model_score_threshold="50%"', "a number from 0 to 1"),
        ('model_score_threshold="nan"', "a number from 0 to 1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_its_name_and_what_is_allowed(attribute, allowed):
    with pytest.raises(LabelConfigError) as refusal:
        LabelConfig.from_xml(config_xml(timeline=attribute))
    assert str(refusal.value) == f"{attribute} cannot be; it must be {allowed}."


def test_settings_on_several_control_tags_must_agree():
    xml = """<View><Video name="v" value="$v"/>
        <TimelineLabels name="a" toName="v" model_frames="{}"><Label value="A"/></TimelineLabels>
        <TimelineLabels name="b" toName="v" model_frames="24"><Label value="B"/></TimelineLabels></View>"""
    assert LabelConfig.from_xml(xml.format("24")).settings.frames == 24
    with pytest.raises(LabelConfigError, match='model_frames="25" and model_frames="24" contradict'):
        LabelConfig.from_xml(xml.format("25"))


def test_a_label_is_explained_by_its_hint_or_else_by_its_other_names():
    config = LabelConfig.from_xml(
        config_xml(
            labels='<Label value="A" hint="a goal"/><Label value="B" predicted_values="foul, card"/>'
            '<Label value="C" predicted_values="x" hint="a corner"/><Label value="D"/>'
            '<Label value="Long" alias="E" hint="h"/><Label value="Free kick" alias="F" predicted_values="kick"/>'
        )
    )
    assert config.hints == {"A": "a goal", "B": "foul, card", "C": "a corner", "E": "h", "F": "Free kick, kick"}


# --- Labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("Speech", "Speech"),
        ("speech", "Speech"),
        (" SPEECH. ", "Speech"),
        ('"speech"', "Speech"),
        ("scene  change", "Scene Change"),
        ("scene-change", "Scene Change"),
        ("Ｓｐｅｅｃｈ", "Speech"),
        ("a man speaks", "Speech"),  # no label, so the first: there is none called Event or Other
        ("", "Speech"),
    ],
)
def test_a_label_is_meant_whatever_its_case_spacing_and_punctuation(said, label):
    assert CONFIG.label_for(said) == label


def test_predicted_values_are_further_names_but_no_match_for_a_label_of_that_name():
    config = LabelConfig.from_xml(
        config_xml(labels='<Label value="Vehicle" predicted_values="car, red truck,bike"/><Label value="Bike"/>')
    )
    assert [config.label_for(said) for said in ("Car", "red truck.", "bike", "plane")] == [
        "Vehicle",
        "Vehicle",
        "Bike",
        "Vehicle",
    ]


@pytest.mark.parametrize(
    ("timeline", "labels", "default"),
    [
        ("", LABELS, "Speech"),
        ("", LABELS + '<Label value="EVENT"/>', "EVENT"),
        ("", LABELS + '<Label value="other"/>', "other"),
        ('model_default_label="scene change"', LABELS + '<Label value="other"/>', "Scene Change"),
    ],
)
def test_what_fits_no_label_goes_to_the_default_label(timeline, labels, default):
    config = LabelConfig.from_xml(config_xml(timeline=timeline, labels=labels))
    assert config.default_label == config.label_for("a bird sings") == default


@pytest.mark.parametrize(
    ("first", "second", "default"),
    [
        ('><Label value="A"/>', '><Label value="B"/>', "A"),
        ('><Label value="A"/>', '><Label value="Other"/>', "Other"),
        ('><Label value="A"/><Label value="Other"/>', '><Label value="Event"/>', "Event"),
        ('><Label value="Event"/>', ' model_default_label="b"><Label value="B"/>', "B"),
    ],
)
def test_the_default_label_may_be_of_any_control(first, second, default):
    config = LabelConfig.from_xml(
        f"""<View><Video name="v" value="$v"/><TimelineLabels name="a" toName="v"{first}</TimelineLabels>
        <TimelineLabels name="b" toName="v"{second}</TimelineLabels></View>"""
    )
    assert config.default_label == default


@pytest.mark.parametrize(
    ("segment", "labeled"),
    [
        (Segment(0, 1, "SPEECH", "hello", 0.5), Segment(0, 1, "Speech", "hello", 0.5)),
        (Segment(0, 1, "a bird", "", 0.5), Segment(0, 1, "Speech", "a bird", 0.5)),
        (Segment(0, 1, "a bird", "sings"), Segment(0, 1, "Speech", "a bird: sings")),
    ],
)
def test_the_models_own_words_are_kept_in_the_text_where_they_are_no_label(segment, labeled):
    assert CONFIG.labeled(segment) == labeled


def test_an_alias_is_what_label_studio_stores():
    xml = config_xml(labels='<Label value="Brand" alias="B"/><Label value="Product"/>')
    config = LabelConfig.from_xml(xml)
    assert config.labels == ("B", "Product")
    result = config.to_result([Segment(0, 1, "brand")], duration=10, task_data={})
    assert result[0]["value"]["timelinelabels"] == ["B"]
    assert complaints(xml, result) == []


# --- Frame rate ------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("attribute", "data", "needed"),
    [
        ("", {"video": "/v.mp4", "fps": 30, "transcript": "x" * 1000}, {"video": "/v.mp4"}),
        ('frameRate="$fps"', {"video": "/v.mp4", "fps": 30, "more": []}, {"video": "/v.mp4", "fps": 30}),
        ('frameRate="$fps"', {"video": "/v.mp4"}, {"video": "/v.mp4"}),
        ('frameRate="$fps"', {"video": ["/v.mp4"], "fps": {"value": 30}}, {}),
        ('frameRate="$meta.fps"', {"video": "/v.mp4", "meta": {"fps": 50, "x": "y"}},
         {"video": "/v.mp4", "meta.fps": 50}),
        ('frameRate="$meta.fps"', {"meta.fps": 50, "meta": {"fps": 60}}, {"meta.fps": 50}),
        ('frameRate="$a.rates[1]"', {"video": "", "a": {"rates": [25, "50"]}}, {"video": "", "a.rates[1]": "50"}),
    ],
)  # fmt: skip
def test_little_of_a_tasks_data_is_needed_to_predict_it_and_it_says_the_same(attribute, data, needed):
    config = LabelConfig.from_xml(config_xml(video=attribute))
    assert config.needed_data(data) == config.needed_data(needed) == needed
    assert config.controls[0].frame_rate(needed) == config.controls[0].frame_rate(data)


# --- Segments to results ---------------------------------------------------------------------------------------------


def test_a_segment_becomes_a_region_and_its_text_joined_by_an_id():
    result = CONFIG.to_result([Segment(1.0, 2.5, "speech", "hello", 0.75)], duration=10.0, task_data={})
    [region_id] = {region["id"] for region in result}
    assert len(region_id) == 10
    ranges = [{"start": 25, "end": 60}]  # frame 25 is shown at 24/24 s; frame 60 ends at 60/24 s
    common = {"id": region_id, "to_name": "video", "score": 0.75}
    assert result == [
        {**common, "from_name": "events", "type": "timelinelabels",
         "value": {"ranges": ranges, "timelinelabels": ["Speech"]}},
        {**common, "from_name": "description", "type": "textarea", "value": {"ranges": ranges, "text": ["hello"]}},
    ]  # fmt: skip
    assert complaints(XML, result) == []


def test_a_segment_without_text_or_score_gives_a_region_without_them():
    [region] = CONFIG.to_result([Segment(0, 1, "Action")], duration=10.0, task_data={})
    assert region["type"] == "timelinelabels"
    assert not {"score", "meta"} & set(region)


def test_without_a_text_area_the_text_goes_into_the_regions_meta():
    xml = config_xml(text_area=False)
    result = LabelConfig.from_xml(xml).to_result(
        [Segment(0, 1, "Action", "jumps"), Segment(1, 2, "Action")], duration=10.0, task_data={}
    )
    assert [region.get("meta") for region in result] == [{"text": ["jumps"]}, None]
    assert complaints(xml, result) == []


def test_a_text_area_for_the_whole_task_is_no_place_for_a_regions_text():
    xml = config_xml(text_area=False).replace("</View>", '<TextArea name="summary" toName="video"/></View>')
    assert LabelConfig.from_xml(xml).controls[0].text_area is None


def test_on_an_audio_a_region_has_seconds():
    xml = audio_xml()
    result = LabelConfig.from_xml(xml).to_result(
        [Segment(1.25, 4.5, "speech", "hello", 0.75), Segment(9.5, 12.0, "Action")], duration=10.0, task_data={}
    )
    common = {"id": result[0]["id"], "to_name": "audio", "original_length": 10.0, "score": 0.75}
    span = {"start": 1.25, "end": 4.5, "channel": 0}
    assert result[:2] == [
        {**common, "from_name": "labels", "type": "labels", "value": {**span, "labels": ["Speech"]}},
        {**common, "from_name": "description", "type": "textarea", "value": {**span, "text": ["hello"]}},
    ]
    assert result[2]["value"] == {"start": 9.5, "end": 10.0, "channel": 0, "labels": ["Action"]}
    assert complaints(xml, result) == []


def test_on_an_audio_without_a_text_area_the_text_goes_into_the_regions_meta():
    xml = audio_xml(text_area=False)
    result = LabelConfig.from_xml(xml).to_result([Segment(0, 1, "Action", "jumps")], duration=10.0, task_data={})
    assert [region.get("meta") for region in result] == [{"text": ["jumps"]}]
    assert complaints(xml, result) == []


def test_ids_follow_from_the_content_and_never_repeat():
    segments = [Segment(0, 1, "Speech"), Segment(0, 1, "speech"), Segment(0, 1.0001, "Speech"), Segment(1, 2, "Speech")]
    result = CONFIG.to_result(segments, duration=10.0, task_data={})
    assert len({region["id"] for region in result}) == 4
    assert result == CONFIG.to_result(segments[::-1], duration=10.0, task_data={})
    assert result[-1:] == CONFIG.to_result([Segment(1, 2, "Speech")], duration=10.0, task_data={})


def test_a_prediction_has_the_mean_score_or_none():
    segments = [Segment(0, 1, "Speech", score=0.5), Segment(1, 2, "Speech", score=1.0), Segment(2, 3, "Speech")]
    prediction = CONFIG.prediction(segments, duration=10.0, task_data={}, model_version="m")
    assert (prediction["score"], prediction["model_version"], len(prediction["result"])) == (0.75, "m", 3)
    assert "score" not in CONFIG.prediction(segments[2:], duration=10.0, task_data={}, model_version="m")
    assert CONFIG.prediction([], duration=10.0, task_data={}, model_version="m") == {"model_version": "m", "result": []}


# --- What may leave ---------------------------------------------------------------------------------------------------

SEVERAL = f"""<View><Video name="v" value="$v" sync="m"/><Audio name="a" value="$v" sync="m"/>
    <TimelineLabels name="seen" toName="v">{LABELS}</TimelineLabels>
    <TimelineLabels name="more" toName="v"><Label value="red square"/></TimelineLabels>
    <Labels name="heard" toName="a"><Label value="B"/></Labels>
    <TextArea name="saw" toName="v" perRegion="true"/><TextArea name="said" toName="a" perRegion="true"/></View>"""
CONFIGS = [
    config_xml(),
    config_xml(text_area=False),
    config_xml(video='frameRate="$fps"'),
    config_xml(video='frameRate="0.04"', labels='<Label value="Brand" alias="B"/><Label value="è,&quot;&amp;"/>'),
    audio_xml(),
    audio_xml(text_area=False),
    SEVERAL,
    LABEL_CONFIG.read_text(encoding="utf-8"),
]
INTERFACES = {xml: LabelInterface(xml) for xml in CONFIGS}


@st.composite
def predictions(draw: st.DrawFn) -> tuple[str, float, dict, dict]:
    """A config, seconds of a video, a task's data, and what is predicted for them."""
    xml, duration = draw(st.sampled_from(CONFIGS)), draw(st.floats(0.01, 7200))
    data = {"fps": draw(st.sampled_from([None, 23.976, 30, "60", 0.04, "x"]))}
    edges = st.floats(0, 1.2).map(lambda part: part * duration)
    labels = st.sampled_from(["Speech", "b", "red square", "?"]) | st.text(min_size=1).filter(str.strip)
    drawn = draw(st.lists(st.tuples(edges, edges, labels, st.text(), st.none() | st.floats(0, 1)), max_size=5))
    segments = [Segment(min(a, b), max(a, b), *rest) for a, b, *rest in drawn if a != b]
    config = LabelConfig.from_xml(xml)
    return xml, duration, data, config.prediction(segments, duration=duration, task_data=data, model_version="m")


@settings(max_examples=150)
@given(predictions())
def test_label_studio_accepts_whatever_is_predicted(drawn):
    xml, duration, data, prediction = drawn
    assert INTERFACES[xml].validate_prediction(prediction, return_errors=True) == []
    LabelConfig.from_xml(xml).check(prediction, duration=duration, task_data=data)


PREDICTION = CONFIG.prediction(
    [Segment(1.0, 2.5, "Speech", "hello", 0.75)], duration=10.0, task_data={}, model_version="m"
)
HEARD = LabelConfig.from_xml(audio_xml())
HEARD_PREDICTION = HEARD.prediction([Segment(1.0, 2.5, "Speech")], duration=10.0, task_data={}, model_version="m")


def changed(prediction: dict, path: str, value: object) -> dict:
    """A copy with another value at a path such as "result.0.id", or without it for `...`."""
    copy = json.loads(json.dumps(prediction))
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    parent = copy
    for part in parents:
        parent = parent[part]
    if value is ...:
        del parent[last]
    else:
        parent[last] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("result", None, "result must be a list"),  # Label Studio's page cannot be opened any more
        ("result", "oops", "result must be a list"),
        ("result.0.value", ..., "a region needs a value"),  # as with this
        ("result.0.value", None, "a region needs a value"),
        ("result.0", None, "a region needs a value"),
        ("result.0.value.ranges.0.start", 1.5, "whole numbers with 1 <= start <= end <= 240"),  # vanishes silently
        ("result.0.value.ranges.0.start", 25.0, "whole numbers"),
        ("result.0.value.ranges.0.start", True, "whole numbers"),
        ("result.0.value.ranges.0.start", 0, "whole numbers"),
        ("result.0.value.ranges.0.start", 61, "whole numbers"),
        ("result.0.value.ranges.0.end", 241, "whole numbers"),
        ("result.0.value.ranges.0.end", ..., "whole numbers"),
        ("result.0.value.ranges", [], "one range"),
        ("result.0.value.ranges", [{"start": 1, "end": 2}, {"start": 4, "end": 5}], "one range"),
        ("result.0.value.timelinelabels", ["Noise"], "no such label"),
        ("result.0.value.timelinelabels", [], "lists of texts"),
        ("result.0.value.timelinelabels", ..., "lists of texts"),
        ("result.0.from_name", "elsewhere", "no such from_name and to_name"),
        ("result.0.to_name", "elsewhere", "no such from_name and to_name"),
        ("result.0.type", "labels", "the type must be timelinelabels"),
        ("result.0.id", ..., "id, from_name, to_name and type must be texts"),
        ("result.0.id", ["a"], "id, from_name, to_name and type must be texts"),
        ("result.0.id", "other", "no region before it"),
        ("result.0.score", 1.5, "score must be from 0 to 1"),
        ("result.1.value.text", "hello", "lists of texts"),
        ("result.1.value.ranges.0.end", 59, "no region before it"),
        ("score", "high", "its score must be from 0 to 1"),  # the whole batch would be lost
        ("score", None, "its score must be from 0 to 1"),
        ("score", float("nan"), "no JSON"),
        ("model_version", None, "model_version must be a text"),  # as with this
        ("model_version", ..., "model_version must be a text"),
    ],
)
def test_what_label_studio_would_choke_on_does_not_leave(path, value, complaint):
    CONFIG.check(PREDICTION, duration=10.0, task_data={})
    with pytest.raises(OmniTimelineError, match=re.escape(complaint)) as refusal:
        CONFIG.check(changed(PREDICTION, path, value), duration=10.0, task_data={})
    assert "please report this" in str(refusal.value)


@pytest.mark.parametrize(
    ("path", "value"), [("start", -0.1), ("start", 2.6), ("end", 10.01), ("end", "2"), ("end", True), ("start", ...)]
)
def test_seconds_outside_the_video_do_not_leave(path, value):
    HEARD.check(HEARD_PREDICTION, duration=10.0, task_data={})
    with pytest.raises(OmniTimelineError, match="seconds must be numbers with 0 <= start <= end <= 10"):
        HEARD.check(changed(HEARD_PREDICTION, f"result.0.value.{path}", value), duration=10.0, task_data={})


@pytest.mark.parametrize("again", [0, 1])
def test_no_two_regions_may_have_one_id(again):
    twice = {**PREDICTION, "result": [*PREDICTION["result"], PREDICTION["result"][again]]}
    with pytest.raises(OmniTimelineError, match="is there twice"):
        CONFIG.check(twice, duration=10.0, task_data={})


odd = st.sampled_from([..., None, True, -1, 0, 1, 1.5, 1e9, "", "x", [], ["x"], [1], {}, {"start": 1, "end": 2}])


def paths(value: object, begin: str = "") -> list[str]:
    """Where there is something inside a value of lists and dictionaries."""
    pairs = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    return [path for key, inner in pairs for path in [f"{begin}{key}", *paths(inner, f"{begin}{key}.")]]


@settings(max_examples=300)
@given(predictions(), st.data())
def test_what_label_studios_own_sdk_refuses_does_not_leave(drawn, data):
    xml, duration, task_data, prediction = drawn
    broken = changed(prediction, data.draw(st.sampled_from(paths(prediction))), data.draw(odd))
    try:
        LabelConfig.from_xml(xml).check(broken, duration=duration, task_data=task_data)
    except OmniTimelineError:
        return
    assert INTERFACES[xml].validate_prediction(broken, return_errors=True) == []


# --- Results to segments ---------------------------------------------------------------------------------------------


def region(first: object = 1, last: object = 24, labels: object = ("Speech",), **more: object) -> dict:
    value = {"ranges": [{"start": first, "end": last}], "timelinelabels": list(labels) if labels else labels}
    return {"id": "r", "from_name": "events", "to_name": "video", "type": "timelinelabels", "value": value, **more}


def text_of(text: object, **more: object) -> dict:
    return {
        "id": "r",
        "from_name": "description",
        "to_name": "video",
        "type": "textarea",
        "value": {"text": text},
    } | more


def test_what_a_human_submitted_in_the_real_page_is_read():
    task = json.loads((REQUESTS / "task_after_human_submit.json").read_text())
    config = LabelConfig.from_xml(
        config_xml(video='frameRate="$fps"', labels=LABELS.replace("Scene Change", "SceneChange"))
    )
    segments = config.from_result(task["annotations"][0]["result"], task_data=task["data"], duration=30.0)
    assert segments == [
        Segment(0.0, 95 / 30, "Speech", "A) first 3 s, text with ranges", 0.91),  # the annotator moved the end from 90
        Segment(59 / 30, 5.0, "Speech", "B) overlaps seg1, text WITHOUT ranges", 0.4),
        Segment(199 / 30, 260 / 30, "Action", "C) two labels", 0.2),
        Segment(199 / 30, 260 / 30, "SceneChange", "C) two labels", 0.2),
        Segment(299 / 30, 10.0, "SceneChange"),
        Segment(399 / 30, 500 / 30, "Action", "E) readonly + meta"),
        Segment(599 / 30, 30.0, "Action", "F) until last frame"),
    ]


def test_what_a_human_drew_and_typed_is_read():
    body = json.loads((REQUESTS / "predict_request_interactive_from_ui.json").read_text())[0]["body"]
    config = LabelConfig.from_xml(body["label_config"])
    result = body["params"]["context"]["result"]
    assert config.from_result(result, task_data=body["tasks"][0]["data"]) == [
        Segment(5 / 30, 16 / 30, "Speech", "typed by human")
    ]


SECOND = Segment(0, 1, "Speech")


@pytest.mark.parametrize(
    ("result", "segments"),
    [
        ([], []),
        (None, []),
        ("oops", []),
        ([None, 3, "x", []], []),
        ([region()], [SECOND]),
        # Label Studio writes these when a VideoRectangle shares the video (its issue 9744).
        ([{**region(), "value": {"timelinelabels": ["Speech"]}}, region()], [SECOND]),
        ([{**region(), "value": {"ranges": [], "timelinelabels": ["Speech"]}}], []),
        ([{**region(), "value": {"ranges": [{"start": 1, "end": 24}, {"start": 25, "end": 48, "enabled": True}],
                                 "timelinelabels": ["Speech"]}}], [SECOND, Segment(1, 2, "Speech")]),
        ([region(labels=("Action", "Speech"))], [Segment(0, 1, "Action"), SECOND]),
        ([region(labels=("Gone",))], [Segment(0, 1, "Gone")]),  # no longer in the config
        ([region(labels=("", "  ", None))], []),
        ([region(labels=None)], []),
        ([region(), text_of(["hello"])], [Segment(0, 1, "Speech", "hello")]),
        ([text_of("hello"), region()], [Segment(0, 1, "Speech", "hello")]),
        ([region(), text_of(["hello", " ", "world", 3])], [Segment(0, 1, "Speech", "hello\nworld")]),
        ([region(), text_of([])], [SECOND]),
        ([region(), text_of("other", from_name="notes"), text_of("ours")], [Segment(0, 1, "Speech", "ours")]),
        ([region(), text_of("ours"), text_of("other", from_name="notes")], [Segment(0, 1, "Speech", "ours")]),
        ([text_of("an orphan"), text_of("without a region", id="z")], []),
        ([region(meta={"text": ["a note"]})], [Segment(0, 1, "Speech", "a note")]),
        ([region(meta={"text": "a note"})], [Segment(0, 1, "Speech", "a note")]),
        ([region(meta={"text": ["a note"]}), text_of("typed")], [Segment(0, 1, "Speech", "typed")]),
        ([region(meta=None), {"type": "relation", "from_id": "r", "to_id": "s", "direction": "right"}], [SECOND]),
        ([{**region(), "value": None}, {"id": "r"}, {**region(), "type": "future"}], [SECOND]),
        ([region(hidden=True, readonly=True, origin="manual")], [SECOND]),
        ([region(1.0, 24.0)], [SECOND]),
        ([region("1", "24")], [SECOND]),
        ([region(0, 24), region(-3, 24)], [SECOND, SECOND]),
        ([region(24, 1), region(None, 24), region(1, None), region(float("nan"), 24), region(1, 10**400)], []),
        ([region(score=0.5), region(score=2), region(score="high"), region(score=True)],
         [SECOND, SECOND, SECOND, Segment(0, 1, "Speech", score=0.5)]),
        ([region(to_name="other video")], []),
        ([region(id=None), text_of("no id", id=None), region(id=[1]), text_of("odd", id=[1])], [SECOND, SECOND]),
    ],
)  # fmt: skip
def test_real_exports_are_read_with_all_that_they_contain(result, segments):
    assert CONFIG.from_result(result, task_data={}) == segments


def test_regions_of_an_audio_are_read_with_all_that_they_contain():
    def heard(start: object, end: object, **more: object) -> dict:
        value = {"start": start, "end": end, "channel": 0, "labels": ["Speech"]}
        return {"id": "r", "from_name": "labels", "to_name": "audio", "type": "labels", "value": value, **more}

    result = [
        heard(1.25, 4.5, origin="prediction-changed", original_length=30.1),
        {**heard(1.25, 4.5), "from_name": "description", "type": "textarea", "value": {"text": ["hello"]}},
        heard(-0.01, 1, id="s"), heard(2, 2, id="t"), heard(None, 2, id="u"), heard(3, 2, id="v"),
        heard("x", {}, id="w"),
        {"id": "x", "to_name": "audio", "type": "choices", "value": {"choices": ["a"]}},
        region(),  # on the video, which holds no segments here
    ]  # fmt: skip
    assert HEARD.from_result(result, task_data={}) == [Segment(0, 1, "Speech"), Segment(1.25, 4.5, "Speech", "hello")]


@settings(max_examples=50)
@given(
    st.floats(0.1, 1000),
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.sampled_from(["Speech", "Action"]), st.sampled_from(["", "hi"])),
        max_size=4,
    ),
    st.booleans(),
)
def test_what_a_human_would_draw_on_an_audio_comes_back_unchanged(duration, drawn, text_area):
    config = LabelConfig.from_xml(audio_xml(text_area=text_area))
    segments = sorted(
        Segment(min(a, b) * duration, max(a, b) * duration, label, text)
        for a, b, label, text in drawn
        if min(a, b) * duration < max(a, b) * duration
    )
    result = config.to_result(segments, duration=duration, task_data={})
    assert config.from_result(result, task_data={}, duration=duration) == segments


def test_a_known_duration_cuts_what_is_drawn_beyond_it():
    result = [region(1, 480), region(241, 480)]
    assert CONFIG.from_result(result, task_data={}, duration=9.99) == [Segment(0, 9.99, "Speech")]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["value", "ranges", "start", "end", "timelinelabels", "text", "id", "type", "meta"]), inner
        )
    ),
    max_leaves=6,
)
odd_regions = st.fixed_dictionaries(
    {},
    optional={
        "id": st.just("r") | json_values,
        "type": st.sampled_from(["timelinelabels", "textarea", "relation"]) | json_values,
        "to_name": st.just("video") | json_values,
        "from_name": st.just("description") | json_values,
        "meta": json_values,
        "score": json_values,
        "value": st.fixed_dictionaries(
            {},
            optional={
                "ranges": st.lists(
                    st.fixed_dictionaries({}, optional={"start": json_values, "end": json_values}) | json_values,
                    max_size=3,
                )
                | json_values,
                "timelinelabels": st.just(["Speech"]) | json_values,
                "text": json_values,
            },
        )
        | json_values,
    },
)


@settings(max_examples=80)
@given(st.lists(odd_regions, max_size=3), st.none() | st.floats(0.1, 100))
def test_no_content_of_an_annotation_raises(result, duration):
    for segment in CONFIG.from_result(result, task_data={}, duration=duration):
        assert duration is None or segment.end <= duration


frame_rates = st.sampled_from([1, 23.976, 24, 25, 29.97, 30000 / 1001, 60, 0.04])


@settings(max_examples=100)
@given(
    frame_rate=frame_rates,
    duration=st.floats(0.5, 7200),
    drawn=st.lists(
        st.tuples(
            st.integers(1, 400_000), st.integers(1, 400_000),
            st.sampled_from(["Speech", "Action", "Scene Change"]),
            st.text(min_size=1).filter(str.strip) | st.just(""),
        ),
        max_size=5,
    ),
    text_area=st.booleans(),
)  # fmt: skip
def test_what_a_human_would_draw_comes_back_unchanged(frame_rate, duration, drawn, text_area):
    config = LabelConfig.from_xml(config_xml(video=f'frameRate="{frame_rate}"', text_area=text_area))
    length = max(1, int(duration * config.controls[0].frame_rate({}) + 0.5))
    result = []
    for number, (a, b, label, text) in enumerate(drawn):
        first, last = sorted((min(a, length), min(b, length)))
        common = {"id": str(number), "to_name": "video"}
        ranges = [{"start": first, "end": last}]
        loose = {"meta": {"text": [text]}} if text and not text_area else {}
        value = {"ranges": ranges, "timelinelabels": [label]}
        result.append({**common, "from_name": "events", "type": "timelinelabels", "value": value, **loose})
        if text and text_area:
            value = {"ranges": ranges, "text": [text]}
            result.append({**common, "from_name": "description", "type": "textarea", "value": value})

    segments = config.from_result(result, task_data={}, duration=duration)
    again = config.to_result(segments, duration=duration, task_data={})

    def without_ids(regions: list[dict]) -> list[str]:
        return sorted(
            json.dumps({key: region[key] for key in region if key != "id"}, sort_keys=True) for region in regions
        )

    assert without_ids(again) == without_ids(result)
    assert config.from_result(again, task_data={}, duration=duration) == segments
