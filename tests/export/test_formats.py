"""What other programs get, read back by readers that are not ours."""

from __future__ import annotations

import csv
import io
import json
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import webvtt as reader
from hypothesis import given, settings
from hypothesis import strategies as st
from pympi import Elan

from omni_timeline.errors import MediaError, RequestError
from omni_timeline.export.formats import FORMATS, WriterOptions
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.pipeline.prediction import Failure, Prediction
from omni_timeline.segments import Segment
from places import LABEL_CONFIG

NASTY = 'a "quoted", <b>bold</b> & late --> 00:00:01.000\n\n=cmd\x00\x0b; 红色 方块 \U0001f600 \ud800'


def predicted(*segments: Segment, path: str = "clips/one.mp4") -> Prediction:
    return Prediction(Path(path), 3700.0, tuple(sorted(segments)), "demo-1a2b3c4d-9f8e7d", "")


def written(name: str, *results: Prediction | Failure, **options: Any) -> str:
    """The whole output in a format."""
    return "".join(FORMATS[name](WriterOptions(**options)).write(results))


def squeezed(text: str) -> str:
    """What a caption or an XML document can hold of a text: one line, no control characters, no half characters."""
    lost = {*range(32), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF}
    return " ".join("".join(" " if ord(character) in lost else character for character in text).split())


def read_elan(text: str, folder: Path) -> Elan.Eaf:
    file = folder / "read.eaf"
    file.write_text(text, encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it warns of a version that it does not know
        return Elan.Eaf(str(file))


def annotations(document: Elan.Eaf) -> dict[str, list[tuple[int, int, str]]]:
    return {tier: sorted(document.get_annotation_data_for_tier(tier)) for tier in document.get_tier_names()}


TWO = (
    Segment(1.2345, 2.0, "red square", "top left", 0.75),
    Segment(3600.5, 3661.25, "tone", looks="differ"),
)


FAILED = Failure(Path("clips/gone.mp4"), MediaError("clips/gone.mp4: no such file"))
ONE_OBJECT = (
    '{"video": "clips/one.mp4", "duration": 3700.0, "model_version": "demo-1a2b3c4d-9f8e7d", "segments": '
    '[{"start": 1.234, "end": 2.0, "label": "red square", "text": "top left", "score": 0.75, "looks": ""}, '
    '{"start": 3600.5, "end": 3661.25, "label": "tone", "text": "", "score": null, "looks": "differ"}], '
    '"windows": 1, "in_shorter": {}, "warnings": []}'
)
FAILED_OBJECT = '{"video": "clips/gone.mp4", "error": "clips/gone.mp4: no such file"}'


def test_every_format_says_what_it_is():
    assert list(FORMATS) == ["table", "json", "jsonl", "csv", "vtt", "srt", "eaf", "label-studio"]
    for name, writer in FORMATS.items():
        assert writer.name == name
        assert writer.extension.startswith(".")
        assert writer.summary
        assert writer.__doc__


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("jsonl", f"{ONE_OBJECT}\n{FAILED_OBJECT}\n"),
        ("json", f"[\n{ONE_OBJECT},\n{FAILED_OBJECT}\n]\n"),
        (
            "csv",
            "video,start,end,label,text,score,looks\n"
            "clips/one.mp4,1.234,2.0,red square,top left,0.75,\nclips/one.mp4,3600.5,3661.25,tone,,,differ\n",
        ),
        (
            "table",
            "clips/one.mp4  1:01:40.00 s  demo-1a2b3c4d-9f8e7d\n"
            "       start         end  score  looks   label       text\n"
            "        1.23        2.00   0.75          red square  top left\n"
            "  1:00:00.50  1:01:01.25         differ  tone\n\n",
        ),
        (
            "vtt",
            "WEBVTT\n\n00:00:01.234 --> 00:00:02.000\nred square: top left\n\n01:00:00.500 --> 01:01:01.250\ntone\n",
        ),
        (
            "srt",
            "1\n00:00:01,234 --> 00:00:02,000\nred square: top left\n\n2\n01:00:00,500 --> 01:01:01,250\ntone\n",
        ),
    ],
)
def test_an_output_of_one_video_and_a_failed_one_is_exactly_this(name: str, text: str):
    assert written(name, predicted(*TWO), FAILED) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [("table", ""), ("json", "[]\n"), ("jsonl", ""), ("csv", "video,start,end,label,text,score,looks\n"), ("vtt", "")],
)
def test_an_output_of_no_video_is_exactly_this(name: str, text: str):
    assert written(name) == text


def test_lines_are_written_as_soon_as_their_video_is_done():
    seen = []

    def results() -> Iterator[Prediction]:
        for path in ("a.mp4", "b.mp4"):
            seen.append(path)
            yield predicted(path=path)

    pieces = FORMATS["jsonl"](WriterOptions()).write(results())
    assert next(pieces) == ""
    assert "a.mp4" in next(pieces)
    assert seen == ["a.mp4"]


def test_the_truth_stands_in_the_table_of_its_video():
    truths = {Path("clips/one.mp4"): (Segment(1.0, 2.0, "red square"),)}
    assert "1 of 1 events found" in written("table", predicted(*TWO), truths=truths)
    assert "events found" not in written("table", predicted(*TWO, path="clips/two.mp4"), truths=truths)


def test_a_json_list_holds_even_what_is_no_unicode():
    [found] = json.loads(written("json", predicted(Segment(1.0, 2.0, "\ud800"))))
    assert found["segments"][0]["label"] == "\ud800"


def test_label_studio_gets_a_list_of_tasks_with_a_prediction_each():
    config = LabelConfig.from_xml(LABEL_CONFIG.read_text(encoding="utf-8"))
    text = written(
        "label-studio", predicted(*TWO, path="my clips/a #1.mp4"), FAILED, label_config=config, video_url="/files/"
    )
    [task] = json.loads(text)
    assert task["data"] == {config.video_field: "/files/a%20%231.mp4"}
    [prediction] = task["predictions"]
    assert prediction["model_version"] == "demo-1a2b3c4d-9f8e7d"
    assert len([region for region in prediction["result"] if region["type"] == "timelinelabels"]) == 2
    assert text == f"[\n{json.dumps(task)}\n]\n"


def test_tasks_keep_the_path_below_the_folder_that_all_videos_are_in():
    """Files of one name in two folders had one address once."""
    config = LabelConfig.from_xml(LABEL_CONFIG.read_text(encoding="utf-8"))
    videos = [predicted(path="clips/day 1/a.mp4"), predicted(path="clips/day 2/../day 2/a.mp4")]
    folder = Path("clips").absolute()
    text = written("label-studio", *videos, label_config=config, video_url="/f/?d=", common_folder=folder)
    assert [task["data"]["video"] for task in json.loads(text)] == ["/f/?d=day%201/a.mp4", "/f/?d=day%202/a.mp4"]


def test_tasks_have_their_data_where_label_studio_looks_for_them():
    config = LabelConfig.from_xml(LABEL_CONFIG.read_text(encoding="utf-8").replace("$video", "$clips[0].url"))
    [task] = json.loads(written("label-studio", predicted(path="a.mp4"), label_config=config, video_url="/f/"))
    assert task["data"] == {"clips": [{"url": "/f/a.mp4"}]}


def test_tasks_for_label_studio_need_their_labeling_config():
    with pytest.raises(RequestError, match="--label-config"):
        FORMATS["label-studio"](WriterOptions())


def test_csv_has_a_header_and_a_line_for_each_segment():
    text = written("csv", predicted(*TWO, Segment(5.0, 6.0, 'a "b", c', "two\nlines", 0.32173835)))
    assert list(csv.DictReader(io.StringIO(text, newline=""))) == [
        {"video": "clips/one.mp4", "start": "1.234", "end": "2.0", "label": "red square", "text": "top left",
         "score": "0.75", "looks": ""},
        {"video": "clips/one.mp4", "start": "5.0", "end": "6.0", "label": 'a "b", c', "text": "two lines",
         "score": "0.3217", "looks": ""},
        {"video": "clips/one.mp4", "start": "3600.5", "end": "3661.25", "label": "tone", "text": "", "score": "",
             "looks": "differ"},
    ]  # fmt: skip


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", "＝1+1", "=cmd|' /C calc'!A0"])
def test_a_spreadsheet_takes_no_cell_for_a_formula(formula: str):
    [row] = csv.DictReader(
        io.StringIO(written("csv", predicted(Segment(0.0, 1.0, formula, f"\n {formula}"), path=formula)), newline="")
    )
    assert (row["video"], row["label"], row["text"]) == (f"'{formula}",) * 3


@pytest.mark.parametrize(
    ("path", "words"),
    [("\t=1.mp4", "'\t=1.mp4"), (" -1.mp4", "' -1.mp4"), ("a=1.mp4", "a=1.mp4"), ("clips/-1.mp4", "clips/-1.mp4")],
)
def test_names_of_files_are_cells_too(path: str, words: str):
    [row] = csv.DictReader(io.StringIO(written("csv", predicted(Segment(0.0, 1.0, "a"), path=path)), newline=""))
    assert row["video"] == words


def test_a_table_sends_no_control_characters_to_a_terminal():
    evil = "e\x1b]0;PWNED\x07\n.mp4"
    text = written("table", predicted(Segment(0.0, 1.0, "a\x1b[2J", "b\rc"), path=evil))
    assert text.splitlines()[0].startswith("e\\x1b]0;PWNED\\x07\\n.mp4  ")
    assert "a\\x1b[2J  b\\rc" in text
    assert "".join(text.split("\n")).isprintable()


def test_no_segments_are_still_a_file_of_the_format(tmp_path: Path):
    assert reader.from_string(written("vtt", predicted())).captions == []
    assert written("srt", predicted()) == ""
    assert annotations(read_elan(written("eaf", predicted(), folder=tmp_path), tmp_path)) == {}


def test_elan_gets_a_tier_for_each_label(tmp_path: Path):
    found = annotations(
        read_elan(written("eaf", predicted(*TWO, Segment(2.0, 3.0, "red square")), folder=tmp_path), tmp_path)
    )
    assert found == {
        "red square": [(1234, 2000, "top left"), (2000, 3000, "red square")],
        "tone": [(3600500, 3661250, "tone")],
    }


def test_overlaps_of_one_label_go_to_further_tiers_whose_names_are_free(tmp_path: Path):
    """ELAN cuts one of two annotations of a tier that overlap."""
    document = written(
        "eaf",
        predicted(
            Segment(0.0, 2.0, "tone", "a"),
            Segment(1.0, 3.0, "tone", "b"),
            Segment(2.0, 4.0, "tone", "c"),
            Segment(0.0, 1.0, "tone (2)", "d"),
        ),
        folder=tmp_path,
    )
    assert annotations(read_elan(document, tmp_path)) == {
        "tone": [(0, 2000, "a"), (2000, 4000, "c")],
        "tone (2)": [(1000, 3000, "b")],
        "tone (2) (2)": [(0, 1000, "d")],
    }


def test_elan_finds_the_video_where_it_was_and_beside_the_document(tmp_path: Path):
    video = tmp_path / "my clips" / "a #1 & more.webm"
    document = read_elan(written("eaf", predicted(path=str(video)), folder=tmp_path / "elan"), tmp_path)
    [media] = document.get_linked_files()
    assert unquote(urlsplit(media["MEDIA_URL"]).path) == str(video)
    assert media["MEDIA_URL"].startswith("file:///")
    assert media["RELATIVE_MEDIA_URL"] == "./../my%20clips/a%20%231%20%26%20more.webm"
    assert media["MIME_TYPE"] == "video/webm"
    assert document.get_properties()[-1] == ("model_version", "demo-1a2b3c4d-9f8e7d")


def test_elan_documents_have_their_parts_in_the_order_of_the_schema(tmp_path: Path):
    root = ET.fromstring(written("eaf", predicted(*TWO, Segment(0.0, 3700.0, "music")), folder=tmp_path).encode())
    tags = list(dict.fromkeys(child.tag for child in root))
    assert tags == ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "CONSTRAINT"]
    times = [int(slot.attrib["TIME_VALUE"]) for slot in root.iter("TIME_SLOT")]
    assert times == sorted(times) == [0, 1234, 2000, 3600500, 3661250, 3700000]
    assert {tier.get("LINGUISTIC_TYPE_REF") for tier in root.iter("TIER")} == {"default-lt"}


@pytest.mark.parametrize(("start", "end", "expected"), [(1.0, 1.0001, (999, 1000)), (0.0, 1e-9, (0, 1))])
def test_a_segment_shorter_than_a_millisecond_keeps_its_start_before_its_end(
    tmp_path: Path, start: float, end: float, expected: tuple[int, int]
):
    found = annotations(read_elan(written("eaf", predicted(Segment(start, end, "tick")), folder=tmp_path), tmp_path))
    assert found == {"tick": [(*expected, "tick")]}


words = st.one_of(st.just(NASTY), st.text(min_size=1, max_size=12)).filter(squeezed)


@st.composite
def some_segments(draw: st.DrawFn) -> Segment:
    start = draw(st.floats(0, 3600, allow_subnormal=False))
    length = draw(st.floats(0.0001, 60))
    return Segment(start, start + length, draw(words), draw(st.one_of(st.just(""), words)))


@settings(max_examples=100)
@given(st.lists(some_segments(), max_size=6))
def test_whatever_the_words_every_reader_finds_every_segment(
    tmp_path_factory: pytest.TempPathFactory, found: list[Segment]
):
    prediction = predicted(*found)
    shown = sorted(squeezed(f"{s.label}: {s.text}" if s.text else s.label) for s in found)

    cues = reader.from_string(written("vtt", prediction)).captions
    assert sorted(unescaped(cue.raw_text) for cue in cues) == shown
    assert all(cue.start_in_seconds <= cue.end_in_seconds for cue in cues)

    blocks = written("srt", prediction).split("\n\n") if found else []
    assert sorted(block.rstrip("\n").split("\n")[2] for block in blocks) == shown

    rows = list(csv.DictReader(io.StringIO(written("csv", prediction), newline="")))
    assert sorted((as_words(row["label"]), as_words(row["text"])) for row in rows) == sorted(
        (squeezed(s.label).lstrip("'"), squeezed(s.text).lstrip("'")) for s in found
    )

    folder = tmp_path_factory.getbasetemp()
    tiers = annotations(read_elan(written("eaf", prediction, folder=folder), folder))
    assert sorted(value for tier in tiers.values() for _, _, value in tier) == sorted(
        squeezed(s.text) or squeezed(s.label) for s in found
    )
    for tier in tiers.values():
        assert all(start < end for start, end, _ in tier)
        assert all(before[1] <= after[0] for before, after in pairwise(tier))


def as_words(cell: str) -> str:
    """A cell without the quotes that it begins with: one may stand before a formula."""
    assert not cell.lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))
    return cell.lstrip("'")


def unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
