from __future__ import annotations

import pytest

from labeling_configs import CONFIG, complaints, config_xml
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.segments import Segment


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


def test_a_label_is_explained_by_its_hint_or_else_by_its_other_names():
    config = LabelConfig.from_xml(
        config_xml(
            labels='<Label value="A" hint="a goal"/><Label value="B" predicted_values="foul, card"/>'
            '<Label value="C" predicted_values="x" hint="a corner"/><Label value="D"/>'
            '<Label value="Long" alias="E" hint="h"/><Label value="Free kick" alias="F" predicted_values="kick"/>'
        )
    )
    assert config.hints == {"A": "a goal", "B": "foul, card", "C": "a corner", "E": "h", "F": "Free kick, kick"}


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
