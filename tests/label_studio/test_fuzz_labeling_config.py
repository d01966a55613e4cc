"""Labeling configs that nobody would write, but a server is sent: anything but a config or its refusal is a mistake.

Whatever the text, `LabelConfig.from_xml` gives a `LabelConfig` that can be used, or raises a `LabelConfigError`, soon.
"""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omni_timeline.errors import LabelConfigError
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.segments import Segment

SOON = 5.0  # s of this process; each takes well under 1, and what grows with the square takes minutes
MANY = 5_000


def served(xml: str) -> LabelConfig | None:
    """The config, used once for everything that it is for; None where it was refused, with a bearable sentence."""
    try:
        config = LabelConfig.from_xml(xml)
    except LabelConfigError as error:
        refusal = str(error)
    else:
        use(config)
        return config
    assert 10 < len(refusal) < 4_000
    return None


def use(config: LabelConfig) -> None:
    assert config.video_field
    assert config.default_label in config.labels
    assert set(config.hints) <= set(config.labels)
    segments = [Segment(0.0, 1.0, config.labels[-1], "text", 0.5), Segment(1.0, 2.0, "no label at all")]
    prediction = config.prediction(segments, duration=10.0, task_data={"fps": 30}, model_version="m")
    config.check(prediction, duration=10.0, task_data={"fps": 30})
    assert len(config.from_result(prediction["result"], task_data={"fps": 30}, duration=10.0)) == 2


words = st.text(max_size=12)
names = st.sampled_from(["v", "a", "v,a", "", " ", "$v", "$", "$v.x", "$ünï", "1e400", "0.04", "$fps", "whole", "nan"])
attributes = st.dictionaries(
    st.sampled_from(
        [
            *("name", "toName", "value", "alias", "hint", "predicted_values", "sync", "perRegion", "frameRate", "NAME"),
            *("model_frames", "model_prompt", "model_window_seconds", "model_score_threshold", "model_default_label"),
        ]
    ),
    names | words,
    max_size=5,
)
tag_names = st.sampled_from(
    ["View", "Video", "Audio", "TimelineLabels", "Labels", "Label", "TextArea", "VIDEO", "Choices", "x:y"]
)


def escaped(text: str) -> str:
    return "".join(f"&#{ord(char)};" if char in "<>&\"'" else char for char in text)


@st.composite
def likely(draw: st.DrawFn) -> str:
    """A config that is nearly right: the tags that count, with odd attributes here and there."""

    def tag(kind: str, inner: str = "", **given: str) -> str:
        every = given | draw(st.just({}) | attributes)
        written = " ".join(f'{name}="{escaped(value)}"' for name, value in every.items())
        return f"<{kind} {written}>{inner}</{kind}>"

    labels = [tag("Label", value=draw(words)) for _ in range(draw(st.integers(0, 3)))]
    parts = [
        tag("Video", name="v", value="$v"),
        tag("Audio", name="a", value="$v"),
        tag("TimelineLabels", "".join(labels), name="t", toName="v"),
        tag("Labels", "".join(labels), name="l", toName="a"),
        tag("TextArea", name="d", toName="v", perRegion="true"),
    ]
    return f"<View>{''.join(draw(st.lists(st.sampled_from(parts), max_size=6)))}</View>"


def element(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    written = attributes.map(lambda all_: "".join(f' {name}="{escaped(value)}"' for name, value in all_.items()))
    parts = st.tuples(tag_names, written, st.lists(inner, max_size=4))
    return parts.map(lambda part: f"<{part[0]}{part[1]}>{''.join(part[2])}</{part[0]}>")


anything = st.recursive(words.map(escaped), element, max_leaves=8)


@settings(max_examples=300)
@given(likely() | anything | st.text())
@example("\x00")
@example("<View>\ud800</View>")
@example('<?xml version="1.0" encoding="utf-16"?><View/>')
@example('<?xml version="1.0" encoding="no-such"?><View/>')
@example("<View>&undefined;</View>")
@example(
    '<View><Video name="v" value="$v"/><TimelineLabels name="t" toName="v"><Label value="&#133;"/></TimelineLabels>'
    "</View>"
)
def test_a_config_is_served_or_refused_whatever_it_is(xml):
    served(xml)


@settings(max_examples=100)
@given(likely(), st.integers(0, 400), st.integers(0, 400), st.sampled_from(["", "<", ">", '"', "&", "\x00", "]]>"]))
def test_a_config_is_served_or_refused_wherever_it_is_damaged(xml, first, second, instead):
    begin, end = sorted((first % (len(xml) + 1), second % (len(xml) + 1)))
    served(xml[:begin] + instead + xml[end:])


def config(labels: str = '<Label value="x"/>', *, video: str = "", to: str = "v", timeline: str = "") -> str:
    return (
        f'<View><Video name="v" value="$v" {video}/>'
        f'<TimelineLabels name="t" toName="{to}" {timeline}>{labels}</TimelineLabels></View>'
    )


def many(pattern: str, count: int = MANY) -> str:
    """The pattern over and over, with its number for each #."""
    return "".join(pattern.replace("#", str(number)) for number in range(count))


LAUGHS = '<!ENTITY l0 "ha">' + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 30))
LABELS = many('<Label value="# things" predicted_values="p#,q"/>')
TIMELINE = '<TimelineLabels name="t#" toName="v"><Label value="l#"/>'
AUDIO = '<Audio name="a#" value="$v" sync="s"/><Labels name="l#" toName="a#"><Label value="#"/></Labels>'
REFUSED = {
    "a billion laughs": f"<!DOCTYPE v [{LAUGHS}]><View>&l29;</View>",
    "a long entity": f'<!doctype v [<!ENTITY a "{"x" * 100_000}">]><View>{"&a;" * 100_000}</View>',
    "an external DTD": '<!DOCTYPE v SYSTEM "file:///etc/passwd"><View/>',
    "an external entity": '<!DOCTYPE v [<!ENTITY p SYSTEM "file:///etc/passwd">]><View>&p;</View>',
    "a parameter entity": '<!DOCTYPE v [<!ENTITY % x SYSTEM "http://127.0.0.1:1/x.dtd">%x;]><View/>',
    "an inclusion": '<View xmlns:i="http://www.w3.org/2001/XInclude"><i:include href="/etc/passwd"/></View>',
    "a deep nest": "<a>" * 250_000 + "</a>" * 250_000,
    "no end": "<a>" * 600_000,
    "a whole book": "<View>" + "x" * 100_000_000 + "</View>",
    "attributes": "<View " + many('a#="" ', 100_000) + "/>",
    "other tags": "<View>" + many('<Choices# toName="i"/>') + "</View>",
    "labels, none the default": config(LABELS, timeline='model_default_label="?"'),
    "a long field": config().replace("$v", "x" * 1_000_000),
    "a long number": config(timeline=f'model_frames="{"9" * 1_000_000}"'),
}
SERVED = {
    "labels": config(LABELS),
    "timelines": config('<Label value="x"/>' + many(TIMELINE + "</TimelineLabels>")),
    "nested timelines": config('<Label value="x"/>' + many(TIMELINE) + "</TimelineLabels>" * MANY),
    "audios": f'<View><Video name="v" value="$v" sync="s"/>{many(AUDIO)}</View>',
    "targets": config(to="v," * 100_000 + "v"),
    "a long frame rate": config(video=f'frameRate="{"9" * 1_000_000}"'),
    "a long label": config(f'<Label value="{"- " * 500_000}"/>'),
}


@pytest.mark.parametrize("xml", REFUSED.values(), ids=REFUSED)
def test_what_is_made_to_harm_is_refused_soon(xml):
    began = time.process_time()
    assert served(xml) is None
    assert time.process_time() - began < SOON


@pytest.mark.parametrize("xml", SERVED.values(), ids=SERVED)
def test_what_is_only_large_is_served_soon(xml):
    began = time.process_time()
    assert served(xml) is not None
    assert time.process_time() - began < SOON
