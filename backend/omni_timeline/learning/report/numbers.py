"""What suggestions cost, how good they are, and whether more corrections would help."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from omni_timeline.learning.effort import Effort
from omni_timeline.learning.evaluation import Evaluation, Measured
from omni_timeline.learning.report.drawings import BLUE, GREEN, ORANGE, RED, Dot, Line, Share, bars, chart, dots
from omni_timeline.learning.report.markup import (
    COLORS,
    MAX_LABELS,
    called,
    cell_with_interval,
    counted,
    figure,
    number_with_interval,
    shortened,
    table,
)

MAX_VERSION = 16  # characters of a model version in a table
WORTH_IT = 0.01  # of F1 that the last quarter of the corrections has to add


def effort_section(efforts: Sequence[Effort]) -> str:
    """What people did with the suggestions of each model version."""
    shown = [each for each in efforts if each.suggested]
    picture = figure(
        bars([(_began(each), _shares(each)) for each in shown]),
        "What became of each suggestion, and what had to be added. The numbers are events.",
    )
    moves = "".join(f"<p>{escape(words)}</p>" for each in shown if (words := _moves(each)))
    rows = [_effort_row(each) for each in efforts]
    header = ["began from", "annotations", "suggested", "kept", "moved", "renamed", "text", "deleted", "added", "time"]
    return (
        "<h2>What the suggestions cost</h2>"
        "<p>Counted from what people did in all tasks. An event may be both moved and renamed; time is the median for "
        "one annotation, with how many are known. Where people began from nothing, or the export does not say from "
        "what, their annotations are put beside what the model says now, and time is that of annotating from scratch."
        "</p>"
        f"{picture if shown else ''}{table(header, rows, numeric=range(1, 10))}{moves}"
    )


def _effort_row(effort: Effort) -> tuple[str, ...]:
    counts = (
        effort.annotations, effort.suggested, effort.kept, effort.moved, effort.renamed, effort.rewritten,
        effort.deleted, effort.added,
    )  # fmt: skip
    time = "–" if effort.lead_time is None else f"{effort.lead_time:.0f} s (n {effort.timed})"
    return _began(effort), *map(str, counts), time


def _began(effort: Effort) -> str:
    """What annotations began from, or are put beside."""
    return shortened(effort.version, MAX_VERSION) if effort.is_shown else "the model now"


def _shares(effort: Effort) -> list[Share]:
    return [
        Share("kept", effort.kept, GREEN),
        Share("changed", effort.suggested - effort.kept - effort.deleted, BLUE),
        Share("deleted", effort.deleted, RED),
        Share("added", effort.added, ORANGE),
    ]


def _moves(effort: Effort) -> str:
    moved = [
        f"{what} by {typical[0]:.2f} s (median; nine of ten by at most {typical[1]:.2f} s)"
        for what, typical in (("starts", effort.start_moved), ("ends", effort.end_moved))
        if typical
    ]
    if not (moved and effort.is_shown):
        return ""
    minute = f"; {effort.seconds_a_minute:.1f} s of edges for each minute of video" if effort.seconds_a_minute else ""
    return f"{_began(effort)}: people moved {' and '.join(moved)}{minute}."


def quality_section(evaluation: Evaluation) -> str:
    """The numbers of each model version, the changes from one to the next, and the newest one's by label."""
    picture = figure(
        dots([_dot(each, iou) for iou in ("0.3", "0.5", "0.7") for each in evaluation.versions]),
        "F1 with the interval that holds 95 of 100 draws of as many tasks; n counts tasks. The larger the IoU, the "
        "better the edges have to be.",
    )
    header = ["version", "tasks", "events", "found", "precision", "recall", "mean IoU", "mAP", "edges in 0.5 s"]
    rows = [_quality_row(each) for each in evaluation.versions]
    numbers = table(header, rows, numeric=range(1, 9), is_html=True)
    changes = [
        f"{called(after)} against {called(before)}, on the {counted(after.before.tasks, 'task')} that both have: "
        f"F1 {number_with_interval(after.before.f1['0.5'], signed=True)}, "
        f"mean IoU {number_with_interval(after.before.mean_iou, signed=True)}."
        for before, after in zip(evaluation.versions, evaluation.versions[1:], strict=False)
        if after.before is not None
    ]
    words = "".join(f"<p>{escape(change[:1].upper() + change[1:])}</p>" for change in changes)
    return f"<h2>How good they are</h2>{picture}{numbers}{words}{_by_label(evaluation.versions[-1])}"


def _dot(measured: Measured, iou: str) -> Dot:
    found = measured.quality.f1[iou]
    note = f"{found.value:.2f} (n {measured.quality.tasks})"
    return Dot(f"{called(measured)}, IoU {iou}", found.value, found.low, found.high, COLORS[measured.name], note)


def _quality_row(measured: Measured) -> tuple[str, ...]:
    quality = measured.quality
    counts = quality.tasks, quality.corrected, quality.found
    numbers = quality.precision, quality.recall, quality.mean_iou, quality.mean_average_precision, quality.edges
    return escape(called(measured)), *map(str, counts), *map(cell_with_interval, numbers)


def _by_label(newest: Measured) -> str:
    labels = newest.quality.labels
    rows = [
        (
            each.label,
            str(each.corrected),
            str(each.found),
            number_with_interval(each.f1),
            "–" if each.average_precision is None else f"{each.average_precision:.2f}",
        )
        for each in labels[:MAX_LABELS]
    ]
    if len(labels) > MAX_LABELS:
        rows.append((f"and {len(labels) - MAX_LABELS} more", "", "", "", ""))
    header = ["label", "events", "found", "F1 at IoU 0.5", "AP"]
    return f"<h3>By label, {escape(called(newest))}</h3>" + table(header, rows, numeric=range(1, 5))


def curve_section(evaluation: Evaluation) -> str:
    """F1 over the number of corrections; nothing where no curve was made."""
    if not evaluation.curve:
        return ""
    points = evaluation.curve
    last, before = points[-1], points[-2]
    picture = chart(
        [Line("F1", [(point.tasks, point.f1) for point in points], BLUE)],
        across="corrected tasks learned from",
        up="F1 at IoU 0.5, held-out tasks",
        x_ticks=(0, *(point.tasks for point in points)),
        bands=[(point.tasks, point.low, point.high) for point in points],
    )
    advice = (
        "The last quarter of the corrections still helped: more of them will probably help, too."
        if last.f1 - before.f1 >= WORTH_IT
        else "The last quarter of the corrections changed little: more of the same will not do much by calibration."
    )
    return "<h2>Is correcting more worth it?</h2>" + figure(
        picture, f"Mean over several draws of the corrections; the lines go from the least to the most. {advice}"
    )
