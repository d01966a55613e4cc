"""What goes wrong: labels, scores, edges, and the tasks where it does; and how far people agree."""

from __future__ import annotations

from html import escape

from omni_timeline.learning.evaluation import Evaluation
from omni_timeline.learning.report.drawings import BLUE, GREY, ORANGE, Dot, Line, chart, dots
from omni_timeline.learning.report.markup import called, counted, figure, shortened, table
from omni_timeline.learning.scores import MISSED, SPURIOUS

MAX_LABELS = 12  # across a page
MAX_MISTAKES = 5
WORTH_IT = 0.01  # of F1 that a threshold has to add
RIGHT_SHADE, WRONG_SHADE = "47,109,181", "192,69,63"


def confusion_section(evaluation: Evaluation) -> str:
    """What is taken for what, as a table; nothing where nothing was said and nothing found."""
    counts = {(corrected, found): count for corrected, found, count in evaluation.confusion.counts}
    labels = evaluation.confusion.labels[:MAX_LABELS]
    if not counts:
        return ""
    most = max(counts.values())
    columns = [*labels, MISSED]
    rows = []
    for row in (*labels, SPURIOUS):
        cells = [_cell(counts.get((row, column), 0), most, is_right=row == column) for column in columns]
        rows.append(f'<tr><th class="row">{escape(row)}</th>{"".join(cells)}</tr>')
    wrong = [(pair, count) for pair, count in counts.items() if pair[0] != pair[1]][:MAX_MISTAKES]
    told = "; ".join(_mistake(*pair, count) for pair, count in wrong)
    rarer = len(evaluation.confusion.labels) - len(labels)
    return (
        "<h2>What is taken for what</h2><p>Rows are what people say, columns what was found; pairs are made by time "
        f"alone, at an IoU of 0.5 or more.{f' {rarer} rarer labels are not shown.' if rarer else ''}</p>"
        f'<div class="wide"><table class="confusion"><tr><th></th>'
        f"{''.join(f'<th>{escape(column)}</th>' for column in columns)}</tr>{''.join(rows)}</table></div>"
        f"<p>{f'Most often: {escape(told)}.' if told else 'Nothing is taken for anything else.'}</p>"
    )


def _cell(count: int, most: int, *, is_right: bool) -> str:
    if not count:
        return "<td></td>"
    shade = f"rgba({RIGHT_SHADE if is_right else WRONG_SHADE},{0.12 + 0.5 * count / most:.2f})"
    return f'<td style="background: {shade}">{count}</td>'


def _mistake(corrected: str, found: str, count: int) -> str:
    if found == MISSED:
        return f"{corrected} is missed ({count})"
    if corrected == SPURIOUS:
        return f"{found} is found where nothing is ({count})"
    return f"{corrected} is taken for {found} ({count})"


def scores_section(evaluation: Evaluation) -> str:
    """What a threshold would do, and what a score is worth; nothing where segments have none."""
    found, points = evaluation.reliability, evaluation.thresholds
    if found is None or not points:
        return ""
    thresholds = chart(
        [
            Line("precision", [(point.threshold, point.precision) for point in points], BLUE),
            Line("recall", [(point.threshold, point.recall) for point in points], ORANGE, "6 3"),
            Line("F1", [(point.threshold, point.f1) for point in points], GREY, "2 3"),
        ],
        across="score of at least",
        up="share",
        marked=evaluation.suggested_threshold or None,
    )
    tenths = chart(
        [],
        across="score",
        up="share that is right",
        diagonal=True,
        sizes=[(mean, right, count) for _, count, mean, right in found.bins],
    )
    worth = (
        f"Tenths of the score, each with how many segments it has ({found.segments} in all). On the dashed line a "
        "score is exactly the share that is right."
    )
    return (
        "<h2>What a score is worth</h2>"
        f'<div class="side">{figure(thresholds, _advice(evaluation))}{figure(tenths, worth)}</div>'
        f"<p>Calibration error (ECE) {found.error:.3f}; in so many segments, scores that are exactly right would show "
        f"{found.floor:.3f}, so that only what is above that counts. Brier score {found.brier:.3f}.</p>"
    )


def _advice(evaluation: Evaluation) -> str:
    points = evaluation.thresholds
    gain = max(point.f1 for point in points) - points[0].f1
    if gain < WORTH_IT:
        return "What remains where lower scores are left out. No threshold would raise F1 by 0.01: leave nothing out."
    return (
        f"What remains where lower scores are left out. A threshold of {evaluation.suggested_threshold:.2f} gives the "
        f"best F1, {gain:+.2f} against none; it is chosen on these very tasks, so expect a little less."
    )


def edges_section(evaluation: Evaluation) -> str:
    """Where people begin and end events, against the newest version, by label; nothing where nothing matches."""
    newest = evaluation.versions[-1]
    rows = [
        Dot(f"{each.label}, {side}", value, None, None, color, f"{value:+.2f} s (n {each.matched})")
        for each in newest.quality.labels[:MAX_LABELS]
        for side, value, color in (("start", each.start, BLUE), ("end", each.end, ORANGE))
        if value is not None
    ]
    if not rows:
        return ""
    reach = max(0.5, 1.1 * max(abs(row.value) for row in rows))
    return (
        "<h2>Where people put the edges</h2><p>Corrected minus found, in seconds, the median of the events that were "
        "found under their label at an IoU of 0.5 or more: right of zero, people begin or end later.</p>"
        + figure(
            dots(rows, low=-reach, high=reach, unit=" s", zero=True), f"Version: {called(newest)}. n counts matches."
        )
    )


def agreement_section(evaluation: Evaluation) -> str:
    """How far two people agree, or that it is unknown."""
    found = evaluation.agreement
    if found is None:
        return (
            "<h2>How far two people agree</h2><p>No task was annotated by two people. Without that it is unknown how "
            "good suggestions could be: let two people annotate a handful of tasks.</p>"
        )
    same = "–" if found.same_label is None else f"{found.same_label:.0%}"
    edge = "–" if found.edge is None else f"{found.edge:.2f} s"
    row = (*(f"{found.f1[iou]:.2f}" for iou in ("0.3", "0.5", "0.7")), same, edge)
    header = ["F1 at IoU 0.3", "at 0.5", "at 0.7", "same label", "edges apart (median)"]
    return (
        f"<h2>How far two people agree</h2><p>{counted(found.tasks, 'task')}, {counted(found.pairs, 'pair')} of "
        "annotations. This is the ceiling: a model cannot agree with people more than they do with each other.</p>"
        + table(header, [row], numeric=range(5))
    )


def worst_section(evaluation: Evaluation) -> str:
    """The tasks that need most correcting, with links where Label Studio's address is known."""
    if not evaluation.worst:
        return "<h2>Tasks to look at</h2><p>In every measured task all events were found (IoU 0.5).</p>"
    rows = []
    for each in evaluation.worst:
        name = f"task {each.task}"
        place = f'<a href="{escape(each.link)}">{name}</a>' if each.link else name
        counts = each.missed, each.spurious, each.wrong_label, each.wrong_edges
        rows.append([place, escape(shortened(each.video, 46)), f"{each.f1:.2f}", *map(str, counts)])
    header = ["task", "video", "F1", "missed", "spurious", "wrong label", "wrong edges"]
    return f"<h2>Tasks to look at</h2>{table(header, rows, numeric=range(2, 7), is_html=True)}"
