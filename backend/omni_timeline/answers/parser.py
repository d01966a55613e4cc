"""The tolerant reader: segments from free text that a language model wrote about times.

Knows the shapes in which language models write times and what their mistakes look like. Knows no labels of a project,
no scores and no video beyond its duration. `lines` is its inverse, so that what a model is trained to write is what is
read from it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace

from omni_timeline.segments import Segment

ROUNDING = 0.05  # s: half of the one decimal in the text; an end this far outside the video is rounding, not a mistake


@dataclass(frozen=True)
class Counts:
    """How many lines of an answer were changed (`clamped`) or dropped (all others), by reason."""

    clamped: int = field(default=0, metadata={"words": "{} reached outside the video and {were} cut to it"})
    reversed: int = field(default=0, metadata={"words": "{} had an end not after the start and {were} dropped"})
    outside: int = field(default=0, metadata={"words": "{} lay outside the video and {were} dropped"})
    repeated: int = field(default=0, metadata={"words": "{} repeated an earlier one and {were} dropped"})
    unlabeled: int = field(default=0, metadata={"words": "{} had times but no words and {were} dropped"})
    unreadable: int = field(default=0, metadata={"words": "{} had no times that can be read and {were} dropped"})
    cut_off: int = field(default=0, metadata={"words": "{} at the end {were} cut off and dropped"})

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each reason that occurred."""
        return tuple(
            reason.metadata["words"].format(f"{count} line{'s' * (count > 1)}", were="were" if count > 1 else "was")
            for reason in fields(self)
            if (count := getattr(self, reason.name))
        )


@dataclass(frozen=True)
class Parsed:
    """The segments of an answer, and what was changed or dropped.

    Attributes:
        segments: the segments, in order.
        spans: for each segment, where its line begins and ends in the text (character offsets, end excluded).
        counts: what was dropped or clamped.
    """

    segments: tuple[Segment, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()
    counts: Counts = Counts()

    @property
    def warnings(self) -> tuple[str, ...]:
        """The dropped and changed lines, in words; empty when there are none."""
        return self.counts.warnings


def parse_segments(text: str, duration: float, *, truncated: bool = False) -> Parsed:
    """The segments in a model's answer, each within 0..`duration`, in order. Never raises.

    Takes "From a to b, label: text." and what models write instead: clock times, units, dashes, brackets, numbering,
    Markdown, Chinese, the words in front of the times or on the next line, several entries on one line. Words
    without a colon are the label. A point in time without an end is not a segment. A line that is written again
    with the same times and words is taken once; one that only drifts in time is taken as it stands.

    Args:
        text: the answer, without special tokens.
        duration: seconds of the video.
        truncated: the model was stopped before it ended its answer. Then a last entry that does not end in a full
            stop (or a new line) is dropped, since its end is missing.
    """
    if re.sub(r"\W", "", text).casefold() in _EMPTY_ANSWERS:
        return Parsed()
    entries, tally = _read(text, truncated)
    found: dict[Segment, tuple[int, int]] = {}
    for entry in entries:
        if entry.end <= entry.start:
            tally["reversed"] += 1
        elif not (entry.start < duration < math.inf and entry.end > 0):
            tally["outside"] += 1
        elif not entry.label:
            tally["unlabeled"] += 1
        else:
            segment = Segment(max(entry.start, 0.0), min(entry.end, duration), entry.label, entry.text)
            tally["clamped"] += entry.start < 0 or entry.end > duration + ROUNDING
            tally["repeated"] += segment in found
            found.setdefault(segment, entry.span)
    return Parsed(tuple(sorted(found)), tuple(found[segment] for segment in sorted(found)), Counts(**tally))


# --- Words -----------------------------------------------------------------------------------------------------------

_EMPTY_ANSWERS = {"", "noevent", "noevents", "none", "没有事件", "无事件", "没有", "无"}
_MARKS = " *_|"  # Markdown's, at the edges of the words; ** and ` are dropped wherever they are
PAUSES = " ,;，；.。"
COLON = re.compile(r"(?<![0-9０-９])[:：](?!//)|[:：](?![0-9０-９]|//)")  # not that of 12:30 or http://
_FINISHED = ("\n", ".", "。", "!", "！", "?", "？", '"', "”", ")", "）")


def one_line(text: str) -> str:
    """`text` on one line with single spaces, without Markdown's code and bold marks."""
    return " ".join(text.replace("`", "").replace("**", "").split())


def words_of(text: str) -> str:
    """A part of a line without marks around it and full stops or commas after it."""
    return text.lstrip(_MARKS).rstrip(_MARKS + PAUSES)


def _label_and_text(words: str) -> tuple[str, str]:
    """The words before and after the colon; all words and "" where there is none."""
    colon = COLON.search(words)
    if colon is None:
        return words_of(words), ""
    label, text = words_of(words[: colon.start()]), words_of(words[colon.end() :])
    return (label, text) if label else (text, "")


# --- Times -----------------------------------------------------------------------------------------------------------
# The patterns look at a line whose full-width and typographic characters are replaced one for one, so that positions
# in it are positions in the line as written. A run of digits is taken whole (++) and only from its first digit, which
# keeps reading linear in the length of the text.

_PLAIN = str.maketrans(
    "０１２３４５６７８９：，．。；！？（）［］【】＜＞｜－–—−‐‑―～〜∼→⇒",
    "0123456789:,..;!?()[][]<>|-------~~~>>",
)
_SECONDS = r"\ ?(?:seconds?|secs?|s|秒钟?)(?![a-z])"
_MINUTES = r"\ ?(?:minutes?|mins?|m|分钟?)(?![a-z])"
_HOURS = r"\ ?(?:hours?|hrs?|h|小时)(?![a-z])"
_POINT = r"(?:[0-9]++(?:\.[0-9]++)?|\.[0-9]++)"
_COMMA = r"[0-9]++,[0-9]{1,2}(?![0-9])"  # 3,2 for 3.2; never three digits, which may be thousands
_CLOCK = r"[0-9]++(?::[0-9]{1,2}){1,2}(?:\.[0-9]++|,[0-9]{3}(?![0-9]))?"
_SPELLED = (
    rf"(?:{_POINT}{_HOURS}(?:\ ?{_POINT}{_MINUTES})?|{_POINT}{_MINUTES})"
    rf"(?:\ ?(?:and\ )?{_POINT}(?:{_SECONDS}|(?![\ 0-9a-z])))?"
)
_ABOUT = r"(?:(?:about|around|approximately|roughly|second|time|大?约|第)\ ?)?"
_RANGE = re.compile(
    rf"""
    (?<![0-9a-z])(?!(?<=[0-9][.,:])[0-9])
    (?P<open>[\[(<]\ ?)?
    (?P<intro>(?:from|between|at|during|starting\ (?:at|from)|从|自|由|在)[\ :]?\ ?)?
    {_ABOUT}(?P<start>-?(?:{_CLOCK}|{_SPELLED}|(?:(?P<comma>{_COMMA})|{_POINT})(?:{_SECONDS})?))
    [\])>]?\ ?(?P<to>(?:up\ )?to|until|till|through|(?P<weak>and|和|与|,)|-+>?|[>~]|=>|直?到|至)\ ?[\[(<]?
    {_ABOUT}
    # a comma in the end is a decimal one if the start has one or a unit follows: "to 7,8 people" is 7 and 8 people
    (?P<end>-?(?:{_CLOCK}|{_SPELLED}|(?:(?(comma){_COMMA}|{_COMMA}(?={_SECONDS}))|{_POINT})(?:{_SECONDS})?))
    (?![0-9a-z]|[:.][0-9])
    (?:\ ?(?:之间|期间|之?内|时))?(?P<close>\ ?[\])>])?[*_]?
    (?P<separator>\ ?[,:;|.]|\ (?:-+>?|>)(?=\ ))?\ ?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_BEFORE_ENTRY = re.compile(  # bullets, quoting, numbering and "Event 1:"
    r"""
    [ >\#*_|•·▪◦●○■+-]*+
    (?:\(?[0-9]{1,4}(?:[.:](?![0-9])|[)、])\ ?)?
    [ *_]*+
    (?:(?:event|segment|scene|clip|part|answer|事件|片段|场景)\ ?[0-9]{0,4}\ ?[:.)-]?\ ?
       (?=[\[(<0-9从]|from|between|at))?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.,;!?])|(?<=\ )(?=From\ )")
_LIKE_AN_ENTRY = re.compile(r"(?:from|between)\b|[从自]|[\[(<]?[0-9]++:[0-9]", re.IGNORECASE)
_TIMES_ONLY = re.compile(
    r"(?P<intro>from|between|从|自)?[0-9 .:,s秒~-]*+(?:to?|and|到|至)?[0-9 .:,s秒~-]*+", re.IGNORECASE
)
_CUT_TAIL = re.compile(rf"(?<=[.;!?。；！？])\ ?{_TIMES_ONLY.pattern}(?(intro)|(?!))(?<!\.)\Z", re.IGNORECASE)


@dataclass(frozen=True)
class _Entry:
    """Times and words as they are written, before anything is checked."""

    start: float
    end: float
    label: str
    text: str
    span: tuple[int, int] = (0, 0)


def _read(text: str, truncated: bool) -> tuple[list[_Entry], dict[str, int]]:
    """Every entry of the answer in the order of writing, and the counts so far under the names of `Counts`."""
    entries: list[_Entry] = []
    strays: list[str] = []  # lines without times
    waiting: _Entry | None = None  # times alone on their line: the words may be on the next
    ends_in_stray = False
    tail = _CUT_TAIL.sub("", text[-80:])  # ". From 9.5 to" after an entry on the same line
    cut_off = len(tail) < len(text[-80:])
    position = 0
    for raw in (text[:-80] + tail).splitlines(keepends=True):
        span = position, position + len(raw.rstrip())
        position += len(raw)
        line = one_line(raw)
        if not re.search(r"\w", line):
            continue
        read = [replace(entry, span=span) for entry in _entries(line)]
        if waiting and not read and not _is_like_an_entry(line):
            label, words = _label_and_text(_after_bullets(line))
            read = [replace(waiting, label=label, text=words, span=(waiting.span[0], span[1]))]
        else:
            entries += [waiting] if waiting else []
            strays += [] if read else [line]
        ends_in_stray = not read
        waiting = read.pop() if len(read) == 1 and not read[0].label else None
        entries += read

    unfinished = truncated and not cut_off and not text.rstrip(" *_`").endswith(_FINISHED)
    if waiting:
        cut_off = True
    elif ends_in_stray and (unfinished or _TIMES_ONLY.fullmatch(_after_bullets(strays[-1]))):
        cut_off = bool(strays.pop())
    elif unfinished and entries:
        cut_off = bool(entries.pop())
    unreadable = sum(map(_is_like_an_entry, strays)) or (0 if entries or cut_off else len(strays))
    tally = dict.fromkeys((reason.name for reason in fields(Counts)), 0)
    return entries, tally | {"unreadable": unreadable, "cut_off": int(cut_off)}


def _entries(line: str) -> list[_Entry]:
    """The entries of one line in the order in which they stand."""
    plain = line.translate(_PLAIN)
    first = _RANGE.match(plain, _end_of_bullets(plain))
    if first is not None and (_is_clear(first) or (_has_separator(first) and not first["weak"])):
        return _entries_before_words(line, first)
    clear = [match for match in _RANGE.finditer(plain) if _is_clear(match)]
    if not clear:
        return []
    words_before = plain[: clear[0].start()].rstrip()
    words_after = words_of(line[clear[-1].end() :])
    if words_after and clear[0]["intro"] and words_before.endswith((".", ",", ":", ";", "!")):
        return _entries_before_words(line, clear[0])  # "Sure! From 3 to 7, …": the words before belong to none
    return _entries_after_words(line, clear)


def _entries_before_words(line: str, first: re.Match[str]) -> list[_Entry]:
    """The entries of "From 1 to 2, red square. From 3 to 4, low tone.", given the times of the first."""
    matches, ends = [first], []
    for position, match in possible_entries(line, first.end()):
        if words_of(line[matches[-1].end() : position]):
            matches.append(match)
            ends.append(position)
    return [
        _Entry(*_times(match), *_label_and_text(line[match.end() : end]))
        for match, end in zip(matches, [*ends, len(line)], strict=True)
    ]


def _entries_after_words(line: str, matches: list[re.Match[str]]) -> list[_Entry]:
    """The entries of "Red square (1-2 s), low tone (3-4 s)"; words after the last times are its text."""
    begins = [_end_of_bullets(line.translate(_PLAIN)), *(match.end() for match in matches)]
    entries = [
        _Entry(*_times(match), *_label_and_text(line[begin : match.start()].strip(PAUSES + ":：-–—")))
        for begin, match in zip(begins, matches, strict=False)
    ]
    words_after = words_of(line[begins[-1] :])
    if words_after and not entries[-1].text:
        entries[-1] = replace(entries[-1], text=words_after)
    return entries


def possible_entries(line: str, begin: int = 0) -> Iterator[tuple[int, re.Match[str]]]:
    """Where a further entry may begin after a sentence on the same line, and its times. They may overlap."""
    plain = line.translate(_PLAIN)
    for boundary in _SENTENCE_END.finditer(plain, begin):
        match = _RANGE.match(plain, _end_of_bullets(plain, boundary.start()))
        if match is not None and _is_clear(match) and (_has_separator(match) or match["close"]):
            yield boundary.start(), match


def _end_of_bullets(plain: str, begin: int = 0) -> int:
    match = _BEFORE_ENTRY.match(plain, begin)
    return match.end() if match else begin


def _after_bullets(line: str) -> str:
    return line[_end_of_bullets(line.translate(_PLAIN)) :]


def _is_like_an_entry(line: str) -> bool:
    return bool(_LIKE_AN_ENTRY.match(_after_bullets(line).translate(_PLAIN)))


def _is_clear(match: re.Match[str]) -> bool:
    """Whether these are times for certain, and not the "2-3" of "2-3 people"."""
    start, end = match["start"], match["end"]
    if match["weak"] == ",":  # "[3, 7]"
        return bool(match["open"] and match["close"])
    if match["weak"]:  # "between 3 and 7"
        return bool(match["intro"])
    has_unit = not set(end) <= set("0123456789.,:-")
    return bool(match["intro"] or match["open"] or ":" in start or has_unit or ("." in start and "." in end))


def _has_separator(match: re.Match[str]) -> bool:
    """Whether bare numbers are set apart like times: "3-7: red square"."""
    return (match["separator"] or ".").strip() != "."


def _times(match: re.Match[str]) -> tuple[float, float]:
    """Start and end in seconds; "2 to 3 minutes" begins at 120."""
    start, end = match["start"], match["end"]
    unit = re.fullmatch(rf"-?{_POINT}({_MINUTES}|{_HOURS})", end, re.IGNORECASE)
    if unit and re.fullmatch(_POINT, start):
        start += unit[1]
    return _seconds(start), _seconds(end)


def _seconds(time: str) -> float:
    sign = -1.0 if time.startswith("-") else 1.0
    time = time.lstrip("-").replace(",", ".")
    if ":" in time:
        *larger, seconds = time.split(":")
        return sign * sum((60.0**power * float(part) for power, part in enumerate(reversed(larger), 1)), float(seconds))
    parts = re.findall(r"([0-9.]+)[ and]*([^0-9 ]?)", time, re.IGNORECASE)
    scale = {"h": 3600.0, "小": 3600.0, "m": 60.0, "分": 60.0}
    return sign * sum(float(number) * scale.get(unit.lower(), 1.0) for number, unit in parts)
