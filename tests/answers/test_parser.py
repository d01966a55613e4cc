from __future__ import annotations

import math
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omni_timeline.answers.lines import NO_EVENTS, format_segments
from omni_timeline.answers.parser import Counts, Parsed, parse_segments
from omni_timeline.segments import Segment

DURATION = 100.0


def read(text: str, duration: float = DURATION, *, truncated: bool = False) -> list[tuple[float, float, str, str]]:
    segments = parse_segments(text, duration, truncated=truncated).segments
    return [(segment.start, segment.end, segment.label, segment.text) for segment in segments]


# --- Segment ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "label", "score"),
    [
        (3.0, 3.0, "x", None),
        (3.0, 2.0, "x", None),
        (-0.1, 2.0, "x", None),
        (0.0, math.inf, "x", None),
        (math.nan, 2.0, "x", None),
        (0.0, math.nan, "x", None),
        (0.0, 1.0, " ", None),
        (0.0, 1.0, "x", 1.1),
        (0.0, 1.0, "x", math.nan),
    ],
)
def test_a_segment_that_cannot_be_is_refused(start, end, label, score):
    with pytest.raises(ValueError, match=r"segment|score"):
        Segment(start, end, label, score=score)


def test_segments_sort_by_time_then_words_even_when_only_some_have_scores():
    # The comparison that @dataclass(order=True) would write compares None with 0.5 here, and raises.
    segments = [Segment(1, 2, "b"), Segment(1, 2, "a", score=0.5), Segment(1, 2, "a"), Segment(0, 9, "z")]
    assert sorted(segments) == [
        Segment(0, 9, "z"),
        Segment(1, 2, "a"),
        Segment(1, 2, "a", score=0.5),
        Segment(1, 2, "b"),
    ]
    assert Segment(1, 2, "a") != Segment(1, 2, "a", score=0.5)


# --- What models write -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "From 3.2 to 7.8, red square.",
        "from 3.2 to 7.8 red square",
        "From 3.2s to 7.8s: red square",
        "From 3.2 seconds to 7.8 seconds, red square.",
        "From 3.2sec until 7.8sec - red square",
        "3.2 seconds to 7.8 seconds: red square",
        "3.2-7.8: red square",
        "3.2 – 7.8: red square",
        "3.2—7.8, red square",
        "3.2~7.8 red square",
        "3.2s ～ 7.8s red square",
        "3.2 -> 7.8: red square",
        "3.2 → 7.8: red square",
        "[3.2 - 7.8] red square",
        "[3.2, 7.8] red square",
        "(3.2s–7.8s) red square",
        "<3.2 - 7.8> red square",
        "00:03.2 - 00:07.8 red square",
        "[00:03.2–00:07.8] red square",
        "[00:03.2] - [00:07.8] red square",
        "0:00:03.200 --> 0:00:07.800: red square",
        "00:00:03,200 --> 00:00:07,800\nred square",
        "between 3.2 and 7.8 seconds, red square",
        "At 3.2 to 7.8, red square.",
        "From about 3.2 to approximately 7.8 seconds, red square.",
        "1. From 3.2 to 7.8, red square.",
        "2) 3.2-7.8: red square",
        "(3) From 3.2 to 7.8, red square.",
        "1.From 3.2 to 7.8, red square.",
        "- From 3.2 to 7.8, red square.",
        "* 3.2s - 7.8s: red square",
        "  • From 3.2 to 7.8, red square",
        "> From 3.2 to 7.8, red square",
        "Event 1: From 3.2 to 7.8, red square.",
        "**From 3.2 to 7.8**, red square.",
        "**From 3.2 to 7.8, red square.**",
        "From **3.2** to **7.8**, `red square`.",
        "_From 3.2 to 7.8_: *red square*",
        "### 3.2s - 7.8s\nred square",
        "### [00:03.2 - 00:07.8]\n- red square\n",
        "| 3.2 - 7.8 | red square |\n|---|---|",
        "Sure! From 3.2 to 7.8, red square.",
        "Here are the events:\n\nFrom 3.2 to 7.8, red square.\n\nLet me know if you need more.",
        "Red square (3.2s - 7.8s)".lower(),
        "red square: 3.2s - 7.8s",
        "**red square** from 3.2 to 7.8 seconds.",
        "  From\t3.2   to 7.8 ,  red   square .  ",
        "From 3,2 to 7,8, red square.",  # decimal commas: before "to" they can be nothing else
        "3,2 s - 7,8 s: red square",
        "从3.2到7.8，red square。",
        "从3.2秒到7.8秒，red square",
        "从 3.2 秒 到 7.8 秒：red square。",
        "3.2秒至7.8秒 red square",
        "从第3.2秒到第7.8秒，red square",
        "在3.2秒到7.8秒之间，red square。",
        "从３．２到７．８，red square。",
        "００：０３．２－００：０７．８　red square",
        "1、从3.2到7.8，red square",
        "【3.2－7.8】red square",
    ],
)  # fmt: skip
def test_all_of_these_say_that_a_red_square_is_there_from_3_2_to_7_8(text):
    parsed = parse_segments(text, DURATION)
    assert parsed.segments == (Segment(3.2, 7.8, "red square"),)
    assert parsed.warnings == ()


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("From 3 to 7, x", 3, 7),
        ("00:03 - 01:07 x", 3, 67),
        ("1:02:03.5 - 1:02:09 x", 3723.5, 3729),
        ("75:00 - 76:30 x", 4500, 4590),
        ("From 1m30s to 2m, x", 90, 120),
        ("From 1 min 30 s to 2 minutes 5.5 seconds, x", 90, 125.5),
        ("From 1 minute and 30 seconds to 2 minutes, x", 90, 120),
        ("From 2 to 3 minutes, x", 120, 180),
        ("From 1h 2m to 1h 3m 4s, x", 3720, 3784),
        ("从1分30秒到2分5秒，x", 90, 125),
        ("从1小时2分到1小时3分4秒，x", 3720, 3784),
        ("From .5 to 1, x", 0.5, 1),
    ],
)
def test_times_are_read_in_every_usual_unit(text, start, end):
    assert read(text, 10_000) == [(start, end, "x", "")]


@pytest.mark.parametrize(
    ("text", "label", "description"),
    [
        ("From 1 to 2, red square: moves left: fast.", "red square", "moves left: fast"),
        ("From 1 to 2: red square: moves left", "red square", "moves left"),
        ("从1到2，红色方块：向左移动。", "红色方块", "向左移动"),
        ("从1到2，没有冒号。", "没有冒号", ""),
        ("From 1 to 2, a man, a dog and, 3 to 5 cats.", "a man, a dog and, 3 to 5 cats", ""),
        ("From 1 to 2, : only text", "only text", ""),
        ("From 1 to 2, only label:", "only label", ""),
        # The colons of clocks and addresses part nothing.
        ("From 1 to 2, the clock says 12:30.", "the clock says 12:30", ""),
        ("From 1 to 2, see http://a.b", "see http://a.b", ""),
        ("From 1 to 2, **goal**: _scored by `nine`_", "goal", "scored by nine"),
        ("From 1 to 2, 5 people", "5 people", ""),
        ("From 1 to 2,5 people", "5 people", ""),  # not 2.5: 1 has no decimal comma, and no unit follows
        ("A red square appears from 1 to 2 and moves.", "A red square appears", "and moves"),
        ("**Goal** (00:01 - 00:02): the ball is in", "Goal", "the ball is in"),
        ("From 1 to 2 - goal", "goal", ""),
    ],
)
def test_words_before_a_colon_are_the_label_and_those_after_it_the_text(text, label, description):
    assert read(text) == [(1, 2, label, description)]


@pytest.mark.parametrize(
    "text",
    [
        "From 1 to 2, a. From 3 to 4, b.",
        "From 1 to 2, a; from 3 to 4, b",
        "From 1 to 2, a, from 3 to 4, b",
        "From 1.0 to 2.0, a From 3.0 to 4.0, b",
        "1. From 1 to 2, a. 2. From 3 to 4, b.",
        "1s-2s: a. 3s-4s: b.",
        "[1 - 2] a. [3 - 4] b.",
        "从1到2，a。从3到4，b。",
        "从1秒到2秒，a，从3秒到4秒，b",
        "a (1s - 2s), b (3s - 4s)",
        "From 3 to 4, b.\nFrom 1 to 2, a.",  # in order of time, whatever the order of writing
        "From 1 to 2, a.\r\n\r\nFrom 3 to 4, b.\r\n",
        "00:01 - 00:02\na\n\n00:03 - 00:04\nb",
        "1\n00:00:01,000 --> 00:00:02,000\na\n\n2\n00:00:03,000 --> 00:00:04,000\nb",
    ],
)
def test_several_entries_are_found_on_one_line_or_on_many(text):
    parsed = parse_segments(text, DURATION)
    assert parsed.segments == (Segment(1, 2, "a"), Segment(3, 4, "b"))
    assert parsed.warnings == ()


@pytest.mark.parametrize("text", ["", "  \n", "No events.", "no event", "**No events.**", "None.", "没有事件。", "[]"])
def test_an_answer_may_say_that_nothing_happens(text):
    assert parse_segments(text, DURATION) == Parsed()
    assert parse_segments(text, DURATION).warnings == ()


@pytest.mark.parametrize(
    "text",
    [
        "I am sorry, I cannot see the video.",
        "I see 2-3 people.",
        "2-3 people walk by",
        "There are 3 to 5 cats.",
        "At 3.2, a beep.",
        "3.2s: a beep",
        "From xx to xx, event1.",
        "From nan to inf, event.",
        "From 1,200 to 1,300, event.",  # 1.2 s or 1200 s? Nobody knows
        "From 3 to 7.5.2, event",
    ],
)
def test_text_without_a_span_of_time_gives_no_segment_and_says_so(text):
    parsed = parse_segments(text, DURATION)
    assert parsed.segments == ()
    assert parsed.warnings == ("1 line had no times that can be read and was dropped",)


@pytest.mark.parametrize(
    ("text", "segments", "counts"),
    [
        ("From 3 to 12, a.", [(3, 10, "a", "")], Counts(clamped=1)),
        ("From 3 to 99999999999999999999, a.", [(3, 10, "a", "")], Counts(clamped=1)),
        ("From 3 to " + 400 * "9" + ", a.", [(3, 10, "a", "")], Counts(clamped=1)),  # float() of it is inf
        ("From -1 to 3, a.", [(0, 3, "a", "")], Counts(clamped=1)),
        ("From 3 to 10.04, a.", [(3, 10, "a", "")], Counts()),  # what one decimal makes of the end is no mistake
        ("From 10 to 12, a.", [], Counts(outside=1)),
        ("From -3 to -1, a.", [], Counts(outside=1)),
        (f"From {400 * '9'}.0 to {401 * '9'}.0, a.", [], Counts(reversed=1)),
        ("From 7 to 3, a.\nFrom 5 to 5, b.\nFrom 1 to 2, c.", [(1, 2, "c", "")], Counts(reversed=2)),
        ("From 1 to 2.\nFrom 3 to 4, b.", [(3, 4, "b", "")], Counts(unlabeled=1)),
        ("From 1 to 2, a.\nFrom xx to xx, b.", [(1, 2, "a", "")], Counts(unreadable=1)),
        ("From 1 to 2, a.\n" * 40 + "From 1 to", [(1, 2, "a", "")], Counts(repeated=39, cut_off=1)),
        # Another label at the same time, or the same label at another time, is no repetition.
        ("From 1 to 2, a.\nFrom 1 to 2, A.\nFrom 2 to 3, a.",
         [(1, 2, "A", ""), (1, 2, "a", ""), (2, 3, "a", "")], Counts()),
    ],
)  # fmt: skip
def test_what_cannot_be_is_dropped_or_clamped_and_counted(text, segments, counts):
    assert read(text, 10.0) == segments
    assert parse_segments(text, 10.0).counts == counts


@pytest.mark.parametrize(
    ("tail", "truncated", "kept"),
    [
        ("From", False, False),
        ("From 3.", False, False),
        ("From 3.2 to", False, False),
        ("From 3.2 to 4", False, False),
        ("- **From 3.2 to 4.0**,", False, False),
        ("3.2-4.0:", False, False),
        ("从3.2到", False, False),
        ("From 3.2 to 4.0, re", True, False),
        ("From 3.2 to 4.0, red squ", False, True),  # without the flag these are words like any others
        ("From 3.2 to 4.0, red square.", True, True),
        ("From 3.2 to 4.0, red square\n", True, True),
        ("从3.2到4.0，红色方块。", True, True),
        ("Fro", True, False),
    ],
)
def test_a_last_line_cut_off_in_its_times_or_words_is_dropped(tail, truncated, kept):
    parsed = parse_segments("From 1 to 2, a.\n" + tail, DURATION, truncated=truncated)
    assert [segment.start for segment in parsed.segments] == ([1.0, 3.2] if kept else [1.0])
    assert parsed.counts == Counts(cut_off=0 if kept else 1)


@pytest.mark.parametrize(
    ("tail", "truncated"),
    [
        ("From", False),
        ("From 3.2 to", False),
        ("From 3.2 to 4", False),
        ("From 3.2 to 4.0, re", True),
        ("从3.2到", False),
    ],
)
def test_a_last_entry_cut_off_within_its_line_is_dropped_and_the_line_kept(tail, truncated):
    parsed = parse_segments("From 1 to 2, a. " + tail, DURATION, truncated=truncated)
    assert parsed.segments == (Segment(1, 2, "a"),)
    assert parsed.counts == Counts(cut_off=1)


def test_a_loop_that_only_shifts_is_taken_as_it_stands_up_to_the_end_of_the_video():
    text = "\n".join(f"From {n} to {n + 1}, a." for n in range(20))
    parsed = parse_segments(text, 5.0)
    assert [segment.start for segment in parsed.segments] == [0, 1, 2, 3, 4]
    assert parsed.counts == Counts(outside=15)


def test_warnings_tell_a_person_what_happened_and_how_often():
    counts = Counts(reversed=2, clamped=1, repeated=3, cut_off=1)
    assert counts.warnings == (
        "1 line reached outside the video and was cut to it",
        "2 lines had an end not after the start and were dropped",
        "3 lines repeated an earlier one and were dropped",
        "1 line at the end was cut off and dropped",
    )


def test_each_segment_knows_where_its_line_stands_in_the_text():
    text = "Events:\n  From 3 to 4, b.\n\n1. From 1 to 2, a.\n00:05 - 00:06\nc\n"
    parsed = parse_segments(text, DURATION)
    assert [text[begin:end].strip() for begin, end in parsed.spans] == [
        "1. From 1 to 2, a.",
        "From 3 to 4, b.",
        "00:05 - 00:06\nc",
    ]


# --- Any text at all -------------------------------------------------------------------------------------------------

PIECES = [
    "From ",
    " to ",
    "3.2",
    "7.8",
    "99",
    "-1",
    ",",
    ", ",
    ".",
    ": ",
    "\n",
    "从",
    "到",
    "秒",
    "，",
    "。",
    "[",
    "]",
    "(",
    "00:03",
    "1:02:03",
    " - ",
    "–",
    "s",
    " seconds",
    "1. ",
    "- ",
    "**",
    "`",
    "|",
    "red square",
    "between ",
    " and ",
    "No events.",
    "nan",
    "９",
    "１２",
    "9" * 30,
    " minutes",
    "\u2028",
    "\x00",
    "\ud800",
]


@settings(max_examples=200)
@given(
    text=st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=30).map("".join)),
    duration=st.floats(min_value=0.01, max_value=1e5),
    truncated=st.booleans(),
)
@example(text="From 3 to 7, a.", duration=math.nan, truncated=False)
@example(text="From 3 to 7, a.", duration=math.inf, truncated=False)
@example(text="From 3 to 7, a.", duration=-1.0, truncated=False)
@example(text="٣-٧: x\n²-³: y", duration=10.0, truncated=False)  # digits to Python, not to a model
def test_the_parser_never_raises_and_keeps_within_the_video(text, duration, truncated):
    parsed = parse_segments(text, duration, truncated=truncated)
    assert all(0 <= segment.start < segment.end <= duration for segment in parsed.segments)
    assert list(parsed.segments) == sorted(set(parsed.segments))
    assert all(0 <= begin < end <= len(text) for begin, end in parsed.spans)
    assert len(parsed.spans) == len(parsed.segments)


@pytest.mark.parametrize(
    "piece",
    [
        "9",
        "9.",
        "1,",
        "1:",
        "1-",
        "From ",
        "from 1 to ",
        "From 1 to 2, ",
        "From 1 to 2, a. ",
        "[",
        "[1 - ",
        " ",
        "\t",
        "*",
        "- ",
        ".",
        ". ",
        "from 1 from ",
        "1m",
        "1h ",
        "从",
        "从1到",
        "event 1 ",
        "a",
        "a:",
        "\n",
        "1. ",
        "1 to 2 ",
        "-",
        "(1, ",
    ],
)
def test_reading_200_kb_of_any_repetition_takes_no_time(piece):
    text = piece * (200_000 // len(piece))
    begin = time.process_time()
    parse_segments(text, DURATION, truncated=True)
    parse_segments("x " + text, DURATION)
    assert time.process_time() - begin < 10  # a quadratic pattern would take minutes


# --- Format ----------------------------------------------------------------------------------------------------------


def test_segments_are_written_one_a_line_in_their_order():
    segments = [Segment(8, 9.5, "low tone", "a hum that fades away"), Segment(3.2, 7.8, "red square", score=0.9)]
    assert (
        format_segments(segments) == "From 3.2 to 7.8, red square.\nFrom 8.0 to 9.5, low tone: a hum that fades away."
    )
    assert format_segments([]) == NO_EVENTS == "No events."


@pytest.mark.parametrize(
    ("segment", "line"),
    [
        (Segment(0.1 + 0.2, 7.84, "a"), "From 0.3 to 7.8, a."),
        # Both ends would be 3.1: a segment without length is none.
        (Segment(3.11, 3.13, "a"), "From 3.11 to 3.13, a."),
        (Segment(3.11111, 3.11113, "a"), "From 3.11111 to 3.11113, a."),
        (Segment(-0.0, 1, "a"), "From 0.0 to 1.0, a."),
        (Segment(1, 2, "a", "He stops."), "From 1.0 to 2.0, a: He stops."),
        (Segment(1, 2, "a\nb", " c\n\td "), "From 1.0 to 2.0, a b: c d."),
        (Segment(1, 2, "Play: goal"), "From 1.0 to 2.0, Play - goal."),
        (Segment(1, 2, "at 12:30"), "From 1.0 to 2.0, at 12:30."),
        (Segment(1, 2, "**a**", "`b`"), "From 1.0 to 2.0, a: b."),
        (Segment(1, 2, "***", "b"), "From 1.0 to 2.0, event: b."),
        (Segment(1, 2, "what?!", "a, b,"), "From 1.0 to 2.0, what?!: a, b."),
        (Segment(1, 2, "So From 3 to 5, he runs"), "From 1.0 to 2.0, So from 3 to 5, he runs."),
        (Segment(1, 2, "a", "He waits. From 3 to 5, he runs."), "From 1.0 to 2.0, a: He waits from 3 to 5, he runs."),
    ],
)
def test_what_a_line_cannot_hold_is_written_in_the_nearest_words(segment, line):
    assert format_segments([segment]) == line
    assert len(parse_segments(line, DURATION).segments) == 1


def test_more_decimals_can_be_asked_for():
    assert format_segments([Segment(0.123, 0.456, "a")], decimals=2) == "From 0.12 to 0.46, a."
    assert format_segments([Segment(0.6, 1.4, "a")], decimals=0) == "From 0.6 to 1.4, a."  # 1 to 1 would be nothing


# No "from" among them: "a. From 3 to 5, b" is two entries, see the test above.
WORDS = [
    "red square",
    "to",
    "3",
    "7.8",
    "12:30",
    "a, b",
    "红色，方块",
    "3 to 5",
    "5-7 people",
    "s",
    "seconds",
    "and",
    "(x)",
    "[y]",
    "1. z",
    "- w",
    "é",
    "🎈",
    "e.g. x",
    "half; half",
    "what? then",  # directly before a time the question mark would go, see `format_segments`
    "no events",
    "l'œil",
    "x*y",
    "1,5",
]
words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)
tenths = st.tuples(st.integers(0, 999), st.integers(1, 300)).map(lambda t: (t[0] / 10, min(1000, t[0] + t[1]) / 10))
segments = st.builds(lambda times, label, text: Segment(*times, label, text), tenths, words, st.just("") | words)


@settings(max_examples=200)
@given(st.lists(segments, max_size=8, unique=True))
@example([Segment(1, 2, "counting from 3 to 5, and on")])
@example([Segment(1, 2, "from 3 to 5, a")])
@example([Segment(1, 2, "s"), Segment(1, 2, "5"), Segment(1, 2, "秒")])
@example([Segment(99.9, 100.0, "the end")])
def test_parsing_undoes_formatting(segments):
    parsed = parse_segments(format_segments(segments), DURATION, truncated=True)
    assert list(parsed.segments) == sorted(segments)
    assert parsed.warnings == ()


@settings(max_examples=150)
@given(
    st.floats(0.3, 1e4),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.text(min_size=1).filter(str.strip), st.text()), max_size=5),
)
def test_whatever_is_written_is_read_as_just_as_many_segments_and_writes_the_same_again(duration, drawn):
    # The second time round nothing is left to round or replace, so that training on read-back answers cannot drift.
    spans = [(min(a, b) * duration, max(a, b) * duration, label, text) for a, b, label, text in drawn]
    segments = [Segment(a, b, label, text) for a, b, label, text in spans if b - a > 0.001 and a < duration - 0.1]
    lines = sorted(set(format_segments(segments).splitlines()))
    parsed = parse_segments("\n".join(lines), duration)
    assert parsed.counts == Counts()
    assert len(parsed.segments) == (len(lines) if segments else 0)
