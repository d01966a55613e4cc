"""The same options and checkpoint make one version, which changes with everything that changes what is predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omni_timeline.errors import RequestError
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.model.prompts import DEFAULT_USER, Prompt
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import Prediction
from omni_timeline.segments import Segment

CHANGES: list[dict[str, Any]] = [
    {"frames": 24},
    {"window_seconds": 25.0},
    {"window_seconds": 48.0},
    {"max_looks": 2.0},
    {"window_seconds": None},
    {"labels": ("speech", "music")},
    {"labels": ("music", "speech")},
    {"hints": (("speech", "somebody talks"),)},
    {"descriptions": False},
    {"prompt": Prompt(user="What happens?")},
    {"prompt": Prompt(system="")},
    {"constrained": False},
    {"refine": True},
    {"score_threshold": 0.5},
    {"max_pixels": 784},
    {"audio_track": 2},
    {"audio_track": "all"},
    {"remap": "nominal"},
    {"max_new_tokens": 64},
]
CONFIG = """<View><Video name="v" value="$video"/><TimelineLabels name="t" toName="v" {}>
<Label value="speech" hint="somebody talks"/><Label value="music"/></TimelineLabels></View>"""


def test_every_setting_that_changes_the_prediction_changes_the_version():
    versions = {PredictOptions(**change).version("demo-1") for change in CHANGES}
    assert len(versions | {PredictOptions().version("demo-1"), PredictOptions().version("demo-2")}) == len(CHANGES) + 2
    assert PredictOptions().version("demo-1").startswith("demo-1-")


@pytest.mark.parametrize(
    "setting",
    [
        {"frames": 0},
        {"remap": "guess"},
        {"max_new_tokens": 0},
        {"window_seconds": 1.0},
        {"window_seconds": float("nan")},
        {"max_looks": 0.5},
        {"score_threshold": 1.5},
    ],
)
def test_settings_that_cannot_be_are_refused(setting: dict[str, Any]):
    with pytest.raises(RequestError, match=next(iter(setting))):
        PredictOptions(**setting)


def test_labels_are_named_in_the_prompt_with_what_they_mean():
    options = PredictOptions(labels=("speech", "music"), hints=(("speech", "somebody talks"),))
    assert options.words.user == f"{DEFAULT_USER}\nUse only these labels: speech (somebody talks), music."


@pytest.mark.parametrize("labels", [(), ("Event",), ("other",)])
def test_without_labels_that_say_something_the_model_uses_its_own_words(labels: tuple[str, ...]):
    options = PredictOptions(labels=labels)
    assert options.closed_labels == ()
    assert options.words.user == DEFAULT_USER


def test_a_single_label_that_says_something_is_the_only_one_there_is():
    assert PredictOptions(labels=("applause",)).closed_labels == ("applause",)


def test_a_project_decides_for_itself():
    attributes = 'model_frames="24" model_window_seconds="whole" model_score_threshold="0.3" model_prompt="Listen!"'
    options = LabelConfig.from_xml(CONFIG.format(attributes)).options(PredictOptions(refine=True))
    assert options == PredictOptions(
        refine=True,
        frames=24,
        window_seconds=None,
        score_threshold=0.3,
        labels=("speech", "music"),
        hints=(("speech", "somebody talks"),),
        prompt=Prompt(user="Listen!"),
        descriptions=False,  # the config has no place for them
    )


def test_a_project_has_one_version_wherever_it_is_predicted():
    """The command line and the server once made two for a config without a place for descriptions."""
    with_text = CONFIG.replace("</View>", '<TextArea name="d" toName="v" perRegion="true"/></View>')
    options = [LabelConfig.from_xml(xml.format("")).options(PredictOptions()) for xml in (CONFIG, with_text)]
    assert [each.descriptions for each in options] == [False, True]
    assert options[0].version("demo-1") != options[1].version("demo-1")


def test_what_a_project_says_nothing_of_stays_as_the_service_is_set():
    options = LabelConfig.from_xml(CONFIG.format("")).options(
        PredictOptions(frames=24, window_seconds=25.0, score_threshold=0.2)
    )
    assert (options.frames, options.window_seconds, options.score_threshold) == (24, 25.0, 0.2)


def test_a_prediction_comes_back_from_a_file_as_it_was():
    prediction = Prediction(
        path=Path("a.mp4"),
        duration=9.5,
        segments=(Segment(0.1 + 0.2, 7.0, "红色", "Text", 0.5), Segment(1.0, 2.0, "b")),
        model_version="demo-1",
        text="From …",
        warnings=("one",),
        lines={"repeated": 2},
        seconds={"decode": 0.25},
    )
    again = Prediction.from_json(prediction.to_json(), Path("a.mp4"))
    assert again == prediction
    assert again.seconds == prediction.seconds


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"segments": [{}]}', "null", '{"segments": 3}'])
def test_what_is_no_prediction_is_said_to_be_none(text: str):
    with pytest.raises(ValueError):  # noqa: PT011  # JSON's own errors are ValueErrors too
        Prediction.from_json(text, Path("a.mp4"))
