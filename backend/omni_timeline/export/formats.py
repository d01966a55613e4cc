"""Predictions as the files that other programs read: JSON, CSV, captions, ELAN, Label Studio's import.

Knows these formats, and that most of them count whole milliseconds. Writes no file and prints nothing: the caller gets
a text.
"""

from __future__ import annotations

import csv
import io
import json
import mimetypes
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from omni_timeline.segments import Segment

if TYPE_CHECKING:
    from omni_timeline.label_studio.labeling_config import LabelConfig
    from omni_timeline.pipeline.prediction import Prediction

Format = Literal["table", "json", "jsonl", "csv", "vtt", "srt", "eaf", "label-studio"]
ONE_VIDEO: tuple[Format, ...] = ("vtt", "srt", "eaf")  # a file of these is about one video

CSV_COLUMNS = ("video", "start", "end", "label", "text", "score")
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


def as_object(prediction: Prediction) -> dict[str, Any]:
    """What --format json and jsonl say of a video."""
    return {
        "video": str(prediction.path),
        "duration": _rounded(prediction.duration),
        "model_version": prediction.model_version,
        "segments": [
            {
                "start": _rounded(segment.start),
                "end": _rounded(segment.end),
                "label": segment.label,
                "text": segment.text,
                "score": _rounded_score(segment),
            }
            for segment in prediction.segments
        ],
        "warnings": list(prediction.warnings),
    }


def csv_header() -> str:
    """The first line of a CSV file."""
    return _csv([CSV_COLUMNS])


def csv_rows(prediction: Prediction) -> str:
    """Exactly a line for each segment; the score is empty where there is none."""
    return _csv(
        (
            prediction.path,
            _rounded(segment.start),
            _rounded(segment.end),
            _one_line(segment.label),
            _one_line(segment.text),
            _rounded_score(segment),
        )
        for segment in prediction.segments
    )


def webvtt(prediction: Prediction) -> str:
    """Captions for a browser's <track> and most players."""
    cues = [
        f"{_clock(start, '.')} --> {_clock(end, '.')}\n"
        f"{words.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')}\n"
        for start, end, words in _captions(prediction)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def subrip(prediction: Prediction) -> str:
    """Captions for what does not read WebVTT."""
    return "\n".join(
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{words}\n"
        for number, (start, end, words) in enumerate(_captions(prediction), start=1)
    )


def elan(prediction: Prediction, folder: Path) -> str:
    """An annotation document for ELAN: a tier for each label, its values the texts, or the label where there is none.

    Annotations of one tier cannot overlap in ELAN: a label whose segments do gets further tiers, "label (2)" and so on.

    Args:
        prediction: what to write.
        folder: where the document will be: it names the video by its place relative to that, too.
    """
    from pympi import Elan  # imported when asked for: nothing else needs it

    document = Elan.Eaf(author="omni-timeline")
    document.remove_tier("default")
    video = prediction.path.absolute()
    document.add_linked_file(
        "file://" + quote(bytes(video)), relpath=link(video, folder), mimetype=mime_type(prediction.path)
    )
    document.add_property("model_version", prediction.model_version)
    names: set[str] = set()
    for label in sorted({segment.label for segment in prediction.segments}):
        lanes = _lanes([segment for segment in prediction.segments if segment.label == label])
        for number, lane in enumerate(lanes, start=1):
            name = _unused(_one_line(label) or "?", number, names)
            names.add(name)
            document.add_tier(name)
            for (start, end), segment in lane:
                document.add_annotation(name, start, end, _one_line(segment.text) or _one_line(segment.label))
    _put_time_slots_in_order(document)
    # Not its to_file, which would rename a file that is already there.
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{Elan.to_string(document)}\n'


def label_studio_task(prediction: Prediction, config: LabelConfig, url_prefix: str) -> dict[str, Any]:
    """A task of Label Studio's import file, with one prediction; the file is a JSON list of them."""
    data = {config.video_field: url_prefix + quote(bytes(Path(prediction.path.name)))}
    suggestion = config.prediction(
        prediction.segments,
        duration=prediction.duration,
        task_data=data,
        model_version=prediction.model_version,
    )
    return {"data": data, "predictions": [suggestion]}


def as_json(objects: Sequence[object]) -> str:
    """One JSON list, an element a line: a person can look at it, and it is as long as it needs to be."""
    return "[\n" + ",\n".join(map(json.dumps, objects)) + "\n]\n" if objects else "[]\n"


def link(video: Path, folder: Path) -> str:
    """The video's URL from a page in `folder`. It begins with a dot, so that no name is taken for a scheme."""
    place = os.path.relpath(video.absolute(), folder.absolute())
    return "./" + quote(os.fsencode(place))


def mime_type(video: Path) -> str:
    """What a file of this name is, as MIME calls it; video/mp4 where nobody knows: players look for themselves."""
    guess, _ = mimetypes.guess_type(f"video{video.suffix}")
    return guess if guess and guess.startswith(("video/", "audio/")) else "video/mp4"


def _rounded(second: float) -> float:
    """Seconds to the millisecond: the rest is rounding of binary numbers."""
    return round(second, 3)


def _rounded_score(segment: Segment) -> float | None:
    return None if segment.score is None else round(segment.score, 4)


def _milliseconds(segment: Segment) -> tuple[int, int]:
    """Start and end in whole milliseconds, start < end."""
    start, end = round(segment.start * 1000), round(segment.end * 1000)
    return (start, end) if start < end else (max(end - 1, 0), max(end, 1))


def _csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _captions(prediction: Prediction) -> list[tuple[int, int, str]]:
    """Start and end in milliseconds and the words, in order of time."""
    return sorted(
        (*_milliseconds(segment), _one_line(f"{segment.label}: {segment.text}" if segment.text else segment.label))
        for segment in prediction.segments
    )


def _clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{rest:03}"


def _one_line(text: str) -> str:
    """The text on one line: white space, and what no XML document can hold, becomes single spaces."""
    return " ".join(_NOT_IN_XML.sub(" ", text).split())


def _lanes(segments: Iterable[Segment]) -> list[list[tuple[tuple[int, int], Segment]]]:
    """The segments with their milliseconds, dealt out so that none overlaps another of the same lane."""
    lanes: list[list[tuple[tuple[int, int], Segment]]] = []
    for times, segment in sorted((_milliseconds(segment), segment) for segment in segments):
        free = next((lane for lane in lanes if lane[-1][0][1] <= times[0]), None)
        if free is None:
            lanes.append(free := [])
        free.append((times, segment))
    return lanes


def _put_time_slots_in_order(document: Any) -> None:
    """ELAN's format has them in order of time; pympi has them in order of their making."""
    slots = sorted(document.timeslots.items(), key=lambda slot: slot[1])
    renamed = {old: f"ts{number}" for number, (old, _) in enumerate(slots, start=1)}
    document.timeslots = {renamed[old]: time for old, time in slots}
    for aligned, *_ in document.tiers.values():
        for name, (start, end, *rest) in aligned.items():
            aligned[name] = (renamed[start], renamed[end], *rest)


def _unused(label: str, number: int, names: set[str]) -> str:
    """The name of a label's tier, which may be what another label is called."""
    name = label if number == 1 else f"{label} ({number})"
    return name if name not in names else _unused(label, number + 1, names)
