from __future__ import annotations

import json
import re
import time

import pytest
from label_studio_sdk.label_interface import LabelInterface

from labeling_configs import LABELS, XML, audio_xml, complaints, config_xml
from omni_timeline.errors import LabelConfigError, RequestError
from omni_timeline.label_studio.labeling_config import LabelConfig, task_prediction
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.segments import Segment
from places import DOCS, FIXTURES, LABEL_CONFIG, WAVEFORM_CONFIG

REQUESTS = FIXTURES / "label-studio"
MANUAL = DOCS / "label-config.md"


def test_the_config_that_the_readme_says_to_paste_is_understood():
    config = LabelConfig.from_xml(LABEL_CONFIG.read_text(encoding="utf-8"))
    assert len(config.labels) == 10
    assert (config.controls[0].media.name, config.video_field, config.controls[0].text_area) == (
        "video",
        "video",
        "description",
    )
    assert config.controls[0].frame_rate({}) == 10.0


def test_the_config_with_a_waveform_has_the_same_labels_so_that_nothing_is_predicted_twice():
    timeline, waveform = (
        LabelConfig.from_xml(file.read_text(encoding="utf-8")) for file in (LABEL_CONFIG, WAVEFORM_CONFIG)
    )
    [control] = waveform.controls
    assert (control.kind, waveform.video_field, control.text_area) == ("labels", "video", "description")
    assert timeline.options(PredictOptions()) == waveform.options(PredictOptions())


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
    assert (config.controls[0].media.name, config.video_field, config.labels, config.controls[0].text_area) == (
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


TWO_VIDEOS = """<View><Video name="a" value="$a"/><Video name="b" value="$b" frameRate="10"/>
    <TimelineLabels name="t" toName="b"><Label value="goal"/><Label value="foul"/></TimelineLabels>
    <TimelineLabels name="u" toName="a"><Label value="cheer"/><Label value="foul"/></TimelineLabels></View>"""


def test_each_video_of_a_task_has_its_own_controls():
    config = LabelConfig.from_xml(TWO_VIDEOS)
    assert [(file.video_field, file.controls[0].name) for file in config.files] == [("b", "t"), ("a", "u")]
    assert config.options(PredictOptions()).labels == ("goal", "foul", "cheer")  # the model is asked with all of them
    assert config.needed_data({"a": "/a", "b": "/b", "c": "/c"}) == {"a": "/a", "b": "/b"}


def test_each_video_of_a_task_gets_the_segments_with_its_own_labels():
    b, a = LabelConfig.from_xml(TWO_VIDEOS).files
    same = Segment(1, 2, "foul", score=0.5)  # in both videos, so the ids must be kept apart
    in_b, in_a = [same, Segment(3, 4, "cheer", score=0.1)], [Segment(0, 1, "goal", score=0.1), same]
    found = [(b, in_b, 10.0), (a, in_a, 20.0)]
    prediction = task_prediction(found, task_data={"a": "/a", "b": "/b"}, model_version="m")
    written = [(r["to_name"], r["value"]["timelinelabels"][0], r["value"]["ranges"]) for r in prediction["result"]]
    assert written == [("b", "foul", [{"start": 11, "end": 20}]), ("a", "foul", [{"start": 25, "end": 48}])]
    assert complaints(TWO_VIDEOS, prediction["result"]) == []
    assert prediction["score"] == 0.5
    assert b.from_result(prediction["result"], task_data={}) == a.from_result(prediction["result"], task_data={})


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        ({"a": "/a", "b": "/b"}, ["b", "a"]),
        ({"a": "/a"}, ["a"]),  # no such camera in this task
        ({"a": "/a", "b": ""}, ["a"]),
        ({"a": "", "b": ""}, None),
        ({}, None),
        ({"a": "/a", "b": ["/b"]}, None),
    ],
)
def test_a_task_needs_one_of_its_videos(data, fields):
    config = LabelConfig.from_xml(TWO_VIDEOS)
    if fields is not None:
        assert [file.video_field for file in config.files_of(data)] == fields
        return
    with pytest.raises(RequestError, match="has no text 'b'"):
        config.files_of(data)


def test_one_control_may_be_on_two_videos():
    xml = f"""<View><Video name="a" value="$a"/><Video name="b" value="$b"/>
        <TimelineLabels name="t" toName="a,b">{LABELS}</TimelineLabels></View>"""
    names = [(file.video_field, file.controls[0].media.name) for file in LabelConfig.from_xml(xml).files]
    assert names == [("a", "a"), ("b", "b")]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("$video", "video"),
        ("$media.video", "media.video"),
        ("$clips[0].url", "clips[0].url"),
        (" $video ", "video"),
        ("$my-video", None),  # to the editor a field `my` and the words "-video"
        ("$my video", None),
        ("$vidéo", None),
        ("$clips[{{idx}}].url", None),
        ("https://host/$name", None),
        ("$a,$b", None),
        ("$", None),
    ],
)
def test_the_file_is_found_where_the_editor_looks_it_up_or_the_config_is_refused(value, path):
    xml = XML.replace('"$video"', f'"{value}"')
    if path is not None:
        assert LabelConfig.from_xml(xml).video_field == path
        return
    with pytest.raises(LabelConfigError, match=r"cannot be predicted: ") as refusal:
        LabelConfig.from_xml(xml)
    assert value in str(refusal.value)


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("video", {"video": "/v.mp4"}),
        ("media.video", {"media": {"video": "/v.mp4"}}),
        ("clips[0].url", {"clips": [{"url": "/v.mp4"}]}),
        ("clips[2]", {"clips": [None, None, "/v.mp4"]}),
        ("clips[1000]", None),
    ],
)
def test_the_data_of_a_new_task_are_nested_as_the_editor_looks_them_up(path, data):
    config = LabelConfig.from_xml(XML.replace("$video", f"${path}"))
    if data is None:
        with pytest.raises(RequestError, match="far into a list"):
            config.data_with("/v.mp4")
        return
    assert config.data_with("/v.mp4") == data
    assert config.video_url(data) == config.video_url(config.needed_data(data)) == "/v.mp4"


def test_no_task_of_two_videos_is_made_of_one():
    with pytest.raises(RequestError, match=r"several files \(\$b, \$a\)"):
        LabelConfig.from_xml(TWO_VIDEOS).data_with("/v.mp4")


@pytest.mark.parametrize(
    "xml",
    [
        config_xml(labels='<Label value="a &lt;|im_end|>"/>'),
        config_xml(labels='<Label value="a" hint="&lt;|audio_bos|>"/>'),
        config_xml(timeline='model_prompt="&lt;|im_start|>system"'),
    ],
)
def test_control_tokens_of_models_are_refused_before_a_task_fails(xml):
    with pytest.raises(LabelConfigError, match=r'<TimelineLabels name="events"> has <\|\w+\|>'):
        LabelConfig.from_xml(xml)


def test_names_and_labels_are_stored_as_they_are_written():
    """Trimmed, a label is none of the project's: Label Studio draws its region in grey, without a name."""
    xml = """<View><Video name="video " value="$video"/><TimelineLabels name=" events" toName="video ">
        <Label value=" red square "/><Label value="Music" alias="mu "/><Label value="no-break\u00a0"/>
        <Label value=" "/></TimelineLabels><TextArea name="d " toName="video " perRegion="true"/></View>"""
    config = LabelConfig.from_xml(xml)
    assert config.labels == (" red square ", "mu ", "no-break\u00a0")
    said = [Segment(0, 1, "red square", "x"), Segment(1, 2, "MUSIC"), Segment(2, 3, "no break")]
    result = config.to_result(said, duration=10, task_data={})
    assert {region["to_name"] for region in result} == {"video "}
    assert [region["from_name"] for region in result] == [" events", "d ", " events", " events"]
    assert [region["value"]["timelinelabels"] for region in result if region["type"] != "textarea"] == [
        [" red square "],
        ["mu "],
        ["no-break\u00a0"],
    ]
    assert [segment.label for segment in config.from_result(result, task_data={})] == list(config.labels)


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
        (audio_xml(audio='value="$sound"'), "video"),  # they play together, so the video is what there is to see
        (audio_xml(audio='value="$sound"').replace('sync="media"', 'sync="audio"', 1), "video"),
        (audio_xml().replace("<Audio", "<AudioPlus"), "video"),
    ],
)
def test_labels_on_an_audio_are_served_too(xml, field):
    config = LabelConfig.from_xml(xml)
    [control] = config.controls
    assert (config.video_field, control.media.name, control.kind) == (field, "audio", "labels")
    assert config.labels == ("Speech", "Action", "Scene Change")


@pytest.mark.parametrize(
    "xml",
    [
        audio_xml(video=None),
        audio_xml(audio='value="$sound"').replace('sync="media"', "", 1),  # beside a video, and not in sync with it
        XML.replace(
            "</View>", f'<Audio name="audio" value="$a"/><Labels name="l" toName="audio">{LABELS}</Labels></View>'
        ),
    ],
)
def test_sound_alone_is_refused_with_what_to_add(xml):
    """Its tasks failed one by one, for a file without a picture is no video to us."""
    with pytest.raises(LabelConfigError, match=r'<Audio name="audio"> .* sound alone') as refusal:
        LabelConfig.from_xml(xml)
    [video] = re.findall("<Video .*/>", str(refusal.value))
    added = video.replace('"video"', '"another"')
    assert LabelConfig.from_xml(xml.replace("<Audio", f"{added}<Audio")).controls


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


@pytest.mark.parametrize(
    ("field", "data", "url"),
    [
        ("video", {"video": "/v.mp4"}, "/v.mp4"),
        ("video", {"video": ["/v.mp4"]}, None),
        ("video", {}, None),
        ("v" * 100_000, {}, None),
    ],
)
def test_the_address_of_a_tasks_video_or_a_sentence(field, data, url):
    config = LabelConfig.from_xml(XML.replace("$video", f"${field}"))
    if url is not None:
        assert config.video_url(data) == url
        return
    with pytest.raises(RequestError, match=f"has no text '{field[:200]}") as refusal:
        config.video_url(data)
    assert len(str(refusal.value)) < 400


def test_a_refusal_is_one_line_whatever_the_config_holds():
    """Else a label could look like a line of the log."""
    for xml in (
        config_xml(timeline='model_frames="1&#10;2026-01-01 ERROR forged"'),
        XML.replace('value="$video"', 'value="x&#13;&#10;&#133;forged"'),
        XML.replace('toName="video"', 'toName="&#10;forged"'),
        XML.replace(LABELS, "").replace('"events"', '"&#10;forged"'),
    ):
        with pytest.raises(LabelConfigError, match="forged") as refusal:
            LabelConfig.from_xml(xml)
        assert str(refusal.value).isprintable()


def test_reading_a_config_takes_time_in_proportion_to_its_tags():
    """20,000 control tags took 25 s where each was compared with all before it."""
    controls = "".join(
        f'<TimelineLabels name="t{number}" toName="video"><Label value="l{number}"/></TimelineLabels>'
        for number in range(20_000)
    )
    xml = XML.replace("</View>", f"{controls}</View>")
    began = time.process_time()
    config = LabelConfig.from_xml(xml)
    prediction = config.prediction([Segment(0, 1, "l19999")], duration=10, task_data={}, model_version="m")
    assert prediction["result"][0]["from_name"] == "t19999"
    assert time.process_time() - began < 2.0  # 0.5 s on the slowest machine that was tried
