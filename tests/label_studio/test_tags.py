from __future__ import annotations

import pytest

from omni_timeline.errors import LabelConfigError
from omni_timeline.label_studio.tags import MAX_CHARACTERS, read_tags

NESTED = """<View><Video NAME=" v " value="$v"/>
    <Outer><Label value="a"/><View><Label value="b"/></View><Outer><Label value="c"/></Outer></Outer></View>"""


def test_tags_come_in_the_order_of_the_config():
    tags = list(read_tags(NESTED).walk())
    assert [tag.kind for tag in tags] == ["video", "outer", "label", "view", "label", "outer", "label"]


def test_a_walk_leaves_out_what_is_in_some_tags():
    outer = read_tags(NESTED).children[1]
    assert [tag["value"] for tag in outer.walk(not_into={"outer"}) if tag.kind == "label"] == ["a", "b"]


def test_names_count_in_any_case_and_absent_attributes_are_empty():
    video = read_tags(NESTED).children[0]
    assert (video.written, video.kind, video["name"], video["value"], video["sync"]) == (
        "Video",
        "video",
        "v",
        "$v",
        "",
    )
    assert read_tags("<AudioPlus/>").kind == "audio"


@pytest.mark.parametrize(("written", "targets"), [("", []), ("v", ["v"]), (" v , a,,", ["v", "a"])])
def test_a_control_may_name_several_targets(written, targets):
    assert read_tags(f'<X toName="{written}"/>').targets == targets


@pytest.mark.parametrize(
    ("xml", "sentence"),
    [
        ("<View>", "not well-formed XML"),
        ("<a/><b/>", "not well-formed XML"),
        ("\x00", "not well-formed XML"),
        ("<View>\ud800</View>", "not well-formed XML"),
        (f"<View>&{'e' * 10_000};</View>", "not well-formed XML"),
        ('<!DOCTYPE v [<!ENTITY a "aaaa">]><View>&a;</View>', "must not have a DOCTYPE"),
        ("<View>" + "x" * MAX_CHARACTERS + "</View>", "it must have at most 2,000,000"),
    ],
)
def test_what_is_no_labeling_config_is_refused_in_a_short_sentence(xml, sentence):
    with pytest.raises(LabelConfigError, match=sentence) as refusal:
        read_tags(xml)
    assert len(str(refusal.value)) < 400
