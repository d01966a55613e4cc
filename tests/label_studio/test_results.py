from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

from labeling_configs import CONFIG, LABELS, SOUND_CONFIG, XML, audio_xml, complaints, config_xml
from omni_timeline.errors import OmniTimelineError
from omni_timeline.label_studio.controls import FrameSpan
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.label_studio.results import Region
from omni_timeline.segments import Segment
from places import FIXTURES, LABEL_CONFIG

REQUESTS = FIXTURES / "label-studio"


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


def test_a_segment_on_which_looks_differ_says_so_in_its_regions_meta():
    segments = [Segment(0, 1, "Action", looks="differ"), Segment(1, 2, "Action", "jumps", looks="differ"),
                Segment(2, 3, "Action", looks="agree")]  # fmt: skip
    for xml, metas in (
        (XML, [{"looks": "differ"}, {"looks": "differ"}, None, None]),
        (config_xml(text_area=False), [{"looks": "differ"}, {"looks": "differ", "text": ["jumps"]}, None]),
    ):
        config = LabelConfig.from_xml(xml)
        found = config.prediction(segments, duration=10.0, task_data={}, model_version="demo-1")  # it is checked
        assert [region.get("meta") for region in found["result"]] == metas
        assert complaints(xml, found["result"]) == []


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


def test_scores_have_no_digits_that_hang_on_the_company_in_a_batch():
    for score, written in ((0.82640001, 0.8264), (1.65e-89, 0.0), (0.99999999, 1.0)):
        [segment] = [Segment(0, 1, "Speech", score=score)]
        prediction = CONFIG.prediction([segment], duration=10.0, task_data={}, model_version="m")
        assert prediction["score"] == written
        assert {region["score"] for region in prediction["result"]} == {written}


def test_a_prediction_has_the_mean_score_or_none():
    segments = [Segment(0, 1, "Speech", score=0.5), Segment(1, 2, "Speech", score=1.0), Segment(2, 3, "Speech")]
    prediction = CONFIG.prediction(segments, duration=10.0, task_data={}, model_version="m")
    assert (prediction["score"], prediction["model_version"], len(prediction["result"])) == (0.75, "m", 3)
    assert "score" not in CONFIG.prediction(segments[2:], duration=10.0, task_data={}, model_version="m")
    assert CONFIG.prediction([], duration=10.0, task_data={}, model_version="m") == {"model_version": "m", "result": []}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"id": ""}, "the id must be a text"),
        ({"label": "Noise"}, "no such label"),
        ({"score": 1.5}, "score must be from 0 to 1"),
        ({"score": float("nan")}, "score must be from 0 to 1"),
    ],
)
def test_a_region_that_its_control_cannot_hold_is_never_made(changes, complaint):
    fine = {"id": "r", "control": CONFIG.controls[0], "span": FrameSpan(1, 24, 240), "label": "Speech", "score": 0.5}
    assert len(Region(**fine).results) == 1
    with pytest.raises(ValueError, match=complaint):
        Region(**{**fine, **changes})


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
HEARD_PREDICTION = SOUND_CONFIG.prediction(
    [Segment(1.0, 2.5, "Speech")], duration=10.0, task_data={}, model_version="m"
)


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
        ("result.0.value.timelinelabels", [], "lists of one text"),
        ("result.0.value.timelinelabels", ..., "lists of one text"),
        ("result.0.from_name", "elsewhere", "no such from_name and to_name"),
        ("result.0.to_name", "elsewhere", "no such from_name and to_name"),
        ("result.0.type", "labels", "the type must be timelinelabels"),
        ("result.0.id", ..., "id, from_name, to_name and type must be texts"),
        ("result.0.id", ["a"], "id, from_name, to_name and type must be texts"),
        ("result.0.id", "other", "no region before it"),
        ("result.0.score", 1.5, "score must be from 0 to 1"),
        ("result.0.value.note", "more", "more or less than a region's result has"),
        ("result.0.value.timelinelabels", ["Speech", "Action"], "lists of one text"),
        ("result.0.meta", {"text": ["twice"]}, "more or less than a region's result has"),
        ("result.1.id", ["a"], "unhashable"),
        ("result.1.value.text", "hello", "lists of one text"),
        ("result.1.value.ranges.0.end", 59, "no region before it"),
        ("score", "high", "its score must be from 0 to 1"),  # the whole batch would be lost
        ("score", None, "its score must be from 0 to 1"),
        ("score", float("nan"), "not JSON"),
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
    SOUND_CONFIG.check(HEARD_PREDICTION, duration=10.0, task_data={})
    with pytest.raises(OmniTimelineError, match="seconds must be numbers with 0 <= start <= end <= 10"):
        SOUND_CONFIG.check(changed(HEARD_PREDICTION, f"result.0.value.{path}", value), duration=10.0, task_data={})


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
    assert SOUND_CONFIG.from_result(result, task_data={}) == [
        Segment(0, 1, "Speech"),
        Segment(1.25, 4.5, "Speech", "hello"),
    ]


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
