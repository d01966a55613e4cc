from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

from omni_timeline.errors import LabelConfigError
from omni_timeline.regions import LabelConfig
from omni_timeline.segments import Segment

FIXTURES = Path(__file__).parent / "fixtures" / "label-studio"
LABELS = '<Label value="Speech"/><Label value="Action"/><Label value="Scene Change"/>'


def config_xml(*, video: str = "", timeline: str = "", labels: str = LABELS, text_area: bool = True) -> str:
    text = '<TextArea name="description" toName="video" perRegion="true"/>' if text_area else ""
    return (
        f'<View><Video name="video" value="$video" {video}/>'
        f'<TimelineLabels name="events" toName="video" {timeline}>{labels}</TimelineLabels>{text}</View>'
    )


XML = config_xml()
CONFIG = LabelConfig.from_xml(XML)


def complaints(xml: str, result: list[dict], **prediction: object) -> list[str]:
    """What Label Studio's own SDK finds wrong with a prediction, and what it lets pass but the page cannot show."""
    found = LabelInterface(xml).validate_prediction({"result": result, **prediction}, return_errors=True)
    for region in result:
        for span in region["value"]["ranges"]:
            if not (type(span["start"]) is type(span["end"]) is int and 1 <= span["start"] <= span["end"]):
                found.append(f"frames {span}")
    labels = [region["id"] for region in result if region["type"] == "timelinelabels"]
    if len(set(labels)) < len(labels):
        found.append("ids are not unique")
    return found


# --- Reading the config ----------------------------------------------------------------------------------------------


def test_the_config_that_the_readme_says_to_paste_is_understood():
    config = LabelConfig.from_xml((Path(__file__).parents[1] / "label_config.xml").read_text(encoding="utf-8"))
    assert len(config.labels) == 10
    assert (config.controls[0].media, config.video_field, config.controls[0].text_area) == (
        "video",
        "video",
        "description",
    )
    assert config.controls[0].frame_rate({}) == 25.0


@pytest.mark.parametrize("request_file", ["predict_request_open_task.json", "predict_request_interactive_from_ui.json"])
def test_the_config_of_a_recorded_request_is_understood(request_file):
    body = json.loads((FIXTURES / request_file).read_text())[0]["body"]
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
         "<TimelineLabels> of the labelling config needs a name"),
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
    ("segment", "labelled"),
    [
        (Segment(0, 1, "SPEECH", "hello", 0.5), Segment(0, 1, "Speech", "hello", 0.5)),
        (Segment(0, 1, "a bird", "", 0.5), Segment(0, 1, "Speech", "a bird", 0.5)),
        (Segment(0, 1, "a bird", "sings"), Segment(0, 1, "Speech", "a bird: sings")),
    ],
)
def test_the_models_own_words_are_kept_in_the_text_where_they_are_no_label(segment, labelled):
    assert CONFIG.labelled(segment) == labelled


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
    ],
)  # fmt: skip
def test_the_frame_rate_is_the_one_that_label_studio_will_use(attribute, data, rate):
    assert LabelConfig.from_xml(config_xml(video=attribute)).controls[0].frame_rate(data) == pytest.approx(rate)


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


CONFIGS = [
    config_xml(),
    config_xml(text_area=False),
    config_xml(video='frameRate="$fps"'),
    config_xml(video='frameRate="0.04"', labels='<Label value="Brand" alias="B"/><Label value="è,&quot;&amp;"/>'),
    (Path(__file__).parents[1] / "label_config.xml").read_text(encoding="utf-8"),
]
INTERFACES = {xml: LabelInterface(xml) for xml in CONFIGS}


@settings(max_examples=100, deadline=None)
@given(
    xml=st.sampled_from(CONFIGS),
    duration=st.floats(0.01, 7200),
    fps=st.sampled_from([None, 23.976, 30, "60", 0.04, "x"]),
    drawn=st.lists(
        st.tuples(
            st.floats(0, 1.2), st.floats(0, 1.2),
            st.sampled_from(["Speech", "b", "red square", "?"]) | st.text(min_size=1).filter(str.strip), st.text(),
            st.none() | st.floats(0, 1),
        ),
        max_size=5,
    ),
)  # fmt: skip
def test_label_studio_accepts_whatever_is_predicted(xml, duration, fps, drawn):
    segments = [
        Segment(min(a, b) * duration, max(a, b) * duration, label, text, score)
        for a, b, label, text, score in drawn
        if max(a, b) * duration > min(a, b) * duration
    ]
    config = LabelConfig.from_xml(xml)
    prediction = config.prediction(segments, duration=duration, task_data={"fps": fps}, model_version="m")
    assert INTERFACES[xml].validate_prediction(prediction, return_errors=True) == []
    length = max(1, round(duration * config.controls[0].frame_rate({"fps": fps}) + 1e-9))
    spans = [span for region in prediction["result"] for span in region["value"]["ranges"]]
    assert all(type(edge) is int for span in spans for edge in span.values())
    assert all(1 <= span["start"] <= span["end"] <= length + 1 for span in spans)
    assert len({(region["id"], region["type"]) for region in prediction["result"]}) == len(prediction["result"])
    json.dumps(prediction, allow_nan=False)


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
    task = json.loads((FIXTURES / "task_after_human_submit.json").read_text())
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
    body = json.loads((FIXTURES / "predict_request_interactive_from_ui.json").read_text())[0]["body"]
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


@settings(max_examples=80, deadline=None)
@given(st.lists(odd_regions, max_size=3), st.none() | st.floats(0.1, 100))
def test_no_content_of_an_annotation_raises(result, duration):
    for segment in CONFIG.from_result(result, task_data={}, duration=duration):
        assert duration is None or segment.end <= duration


frame_rates = st.sampled_from([1, 23.976, 24, 25, 29.97, 30000 / 1001, 60, 0.04])


@settings(max_examples=100, deadline=None)
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
