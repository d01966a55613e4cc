"""Predictions as the files that other programs read: one writer class for each format.

A new format is one subclass of `Writer`, here: `predict --format` offers it, with its help, and the output goes into
one file or a file for each video, as the class says. Writes no file and prints nothing: the caller gets a text.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from omni_timeline.errors import RequestError
from omni_timeline.export.links import link, mime_type
from omni_timeline.pipeline.prediction import Failure, Prediction
from omni_timeline.segments import Segment, written_score

if TYPE_CHECKING:
    from omni_timeline.label_studio.labeling_config import LabelConfig

# Spreadsheets take cells that begin so for formulas; a quote before them makes a cell text. Full-width ones count in
# Japanese and Chinese Excel.
_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2

FORMATS: dict[str, type[Writer]] = {}  # by name, in the order in which the classes stand below


@dataclass(frozen=True)
class WriterOptions:
    """Values that some formats need beside the predictions.

    Attributes:
        folder: where the output will be: a document names its video relative to it.
        truths: what really happens in a video, by the video's path: a table shows it beside what was predicted.
        label_config: the labeling config of the project that Label Studio's tasks are for.
        video_url: what stands before a video's path below `common_folder` in Label Studio's tasks.
        common_folder: a folder that all videos are in; None: each video's own.
    """

    folder: Path = Path()
    truths: Mapping[Path, Sequence[Segment]] = field(default_factory=dict)
    label_config: LabelConfig | None = None
    video_url: str = ""
    common_folder: Path | None = None


class Writer(ABC):
    """One output format: the text before the first video, of each video, and after the last one.

    Attributes:
        name: what `--format` calls it.
        extension: the ending of its files' names.
        summary: a few words for `--help`.
        is_file_per_video: a file of this format is about one video, so that several videos need a folder.
        has_warnings: whether the text contains the warnings of a video; most formats have no place for them.
        encoding: the encoding of its files.
    """

    name: ClassVar[str]
    extension: ClassVar[str]
    summary: ClassVar[str]
    is_file_per_video: ClassVar[bool] = False
    has_warnings: ClassVar[bool] = False
    encoding: ClassVar[str] = "utf-8"

    def __init_subclass__(cls) -> None:
        FORMATS[cls.name] = cls

    def __init__(self, options: WriterOptions):
        self.options = options

    def begin(self) -> str:
        """The text before the first video."""
        return ""

    @abstractmethod
    def add(self, prediction: Prediction) -> str:
        """The text of one video; "" in a format that is written at the end."""

    def add_failure(self, failure: Failure) -> str:
        """The text of a video that could not be predicted; most formats have none."""
        return ""

    def end(self) -> str:
        """The text after the last video."""
        return ""

    def write(self, results: Iterable[Prediction | Failure]) -> Iterator[str]:
        """The whole output, piece by piece as the results come."""
        yield self.begin()
        for result in results:
            yield self.add_failure(result) if isinstance(result, Failure) else self.add(result)
        yield self.end()


class TableWriter(Writer):
    """Columns of text, beside the true segments where these are known."""

    name = "table"
    extension = ".txt"
    summary = "columns of text"
    has_warnings = True

    def add(self, prediction: Prediction) -> str:
        from omni_timeline.export.tables import prediction_table  # imported here, so that `--help` need not wait for it

        return prediction_table(prediction, self.options.truths.get(prediction.path)) + "\n"


class JsonWriter(Writer):
    """A list with an object for each video, at the end."""

    name = "json"
    extension = ".json"
    summary = "a list with an object for each video"
    has_warnings = True

    def __init__(self, options: WriterOptions):
        super().__init__(options)
        self._objects: list[object] = []

    def add(self, prediction: Prediction) -> str:
        self._objects.append(_as_object(prediction))
        return ""

    def add_failure(self, failure: Failure) -> str:
        self._objects.append(_failed_object(failure))
        return ""

    def end(self) -> str:
        return _json_list(self._objects)


class JsonLinesWriter(Writer):
    """The same objects, one a line, each as soon as its video is done."""

    name = "jsonl"
    extension = ".jsonl"
    summary = "an object for each video, one a line"
    has_warnings = True

    def add(self, prediction: Prediction) -> str:
        return json.dumps(_as_object(prediction)) + "\n"

    def add_failure(self, failure: Failure) -> str:
        return json.dumps(_failed_object(failure)) + "\n"


class CsvWriter(Writer):
    """A header, then exactly one line for each segment; the score is empty where there is none.

    Words that a spreadsheet would take for a formula have a quote before them.
    """

    name = "csv"
    extension = ".csv"
    summary = "a line for each segment, for spreadsheets"
    encoding = "utf-8-sig"  # Excel takes a file without the mark for one in the machine's old code page

    def begin(self) -> str:
        return _csv([("video", "start", "end", "label", "text", "score", "looks")])

    def add(self, prediction: Prediction) -> str:
        return _csv(
            (
                _cell(str(prediction.path)),
                _rounded(segment.start),
                _rounded(segment.end),
                _cell(_one_line(segment.label)),
                _cell(_one_line(segment.text)),
                _rounded_score(segment),
                segment.looks,
            )
            for segment in prediction.segments
        )


class WebVttWriter(Writer):
    """Captions for a browser's <track> and most players."""

    name = "vtt"
    extension = ".vtt"
    summary = "captions (WebVTT)"
    is_file_per_video = True

    def add(self, prediction: Prediction) -> str:
        cues = [
            f"{_clock(start, '.')} --> {_clock(end, '.')}\n"
            f"{words.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')}\n"
            for start, end, words in _captions(prediction)
        ]
        return "\n".join(["WEBVTT\n", *cues])


class SubRipWriter(Writer):
    """Captions for programs that do not read WebVTT."""

    name = "srt"
    extension = ".srt"
    summary = "captions (SubRip)"
    is_file_per_video = True

    def add(self, prediction: Prediction) -> str:
        return "\n".join(
            f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{words}\n"
            for number, (start, end, words) in enumerate(_captions(prediction), start=1)
        )


class ElanWriter(Writer):
    """An annotation document for ELAN: a tier for each label, its values the texts, or the label where there is none.

    Annotations of one tier cannot overlap in ELAN: a label whose segments do gets further tiers, "label (2)" and so on.
    """

    name = "eaf"
    extension = ".eaf"
    summary = "an ELAN document"
    is_file_per_video = True

    def add(self, prediction: Prediction) -> str:
        from pympi import Elan  # imported here, since only this format needs it

        document = Elan.Eaf(author="omni-timeline")
        document.remove_tier("default")
        video = prediction.path.absolute()
        document.add_linked_file(
            "file://" + quote(bytes(video)),
            relpath=link(video, self.options.folder),
            mimetype=mime_type(prediction.path),
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
        # Not pympi's to_file, which would rename a file that is already there.
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{Elan.to_string(document)}\n'


class LabelStudioWriter(Writer):
    """A JSON list of tasks for Label Studio's import, each with one prediction.

    Raises:
        RequestError: there is no labeling config.
    """

    name = "label-studio"
    extension = ".json"
    summary = "tasks for its import; needs --label-config"

    def __init__(self, options: WriterOptions):
        super().__init__(options)
        if options.label_config is None:
            raise RequestError("--format label-studio needs --label-config FILE, the labeling config of the project")
        self._config = options.label_config
        self._tasks: list[object] = []

    def add(self, prediction: Prediction) -> str:
        place = os.path.relpath(prediction.path, self.options.common_folder or prediction.path.parent)
        data = self._config.data_with(self.options.video_url + quote(os.fsencode(Path(place).as_posix())))
        suggestion = self._config.prediction(
            prediction.segments,
            duration=prediction.duration,
            task_data=data,
            model_version=prediction.model_version,
        )
        self._tasks.append({"data": data, "predictions": [suggestion]})
        return ""

    def end(self) -> str:
        return _json_list(self._tasks)


def _as_object(prediction: Prediction) -> dict[str, Any]:
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
                "looks": segment.looks,
            }
            for segment in prediction.segments
        ],
        "windows": prediction.windows,
        "in_shorter": dict(prediction.in_shorter),
        "warnings": list(prediction.warnings),
    }


def _failed_object(failure: Failure) -> dict[str, str]:
    return {"video": str(failure.path), "error": str(failure.error)}


def _json_list(objects: Sequence[object]) -> str:
    """One JSON list, an element a line, so that people can read it."""
    return "[\n" + ",\n".join(map(json.dumps, objects)) + "\n]\n" if objects else "[]\n"


def _rounded(second: float) -> float:
    """Seconds to the millisecond: the rest is rounding of binary numbers."""
    return round(second, 3)


def _rounded_score(segment: Segment) -> float | None:
    return None if segment.score is None else written_score(segment.score)


def _milliseconds(segment: Segment) -> tuple[int, int]:
    """Start and end in whole milliseconds, start < end."""
    start, end = round(segment.start * 1000), round(segment.end * 1000)
    return (start, end) if start < end else (max(end - 1, 0), max(end, 1))


def _csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _cell(words: str) -> str:
    """The words as a cell that no spreadsheet takes for a formula."""
    return f"'{words}" if _FORMULA.match(words) else words


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
    """Sorts the time slots by time, as ELAN's format demands; pympi has them in the order in which they were made."""
    slots = sorted(document.timeslots.items(), key=lambda slot: slot[1])
    renamed = {old: f"ts{number}" for number, (old, _) in enumerate(slots, start=1)}
    document.timeslots = {renamed[old]: time for old, time in slots}
    for aligned, *_ in document.tiers.values():
        for name, (start, end, *rest) in aligned.items():
            aligned[name] = (renamed[start], renamed[end], *rest)


def _unused(label: str, number: int, names: set[str]) -> str:
    """A name for a label's tier of this number, different from all other names."""
    name = label if number == 1 else f"{label} ({number})"
    return name if name not in names else _unused(label, number + 1, names)
