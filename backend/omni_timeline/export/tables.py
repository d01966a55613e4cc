"""Tables for a terminal: the segments of a video, and the model's input.

Prints nothing: the caller gets a text.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omni_timeline.errors import printable
from omni_timeline.metrics import boundary_errors, event_f1, match

if TYPE_CHECKING:
    from omni_timeline.pipeline.prediction import Prediction
    from omni_timeline.segments import Segment


def clock(seconds: float) -> str:
    """Seconds as a person reads them: 7.25 -> "7.25", 75.5 -> "1:15.50", 3675 -> "1:01:15.00"."""
    hundredths = round(seconds * 100)
    minutes, rest = divmod(hundredths, 6000)
    if minutes == 0:
        return f"{rest / 100:.2f}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest / 100:05.2f}" if hours else f"{minutes}:{rest / 100:05.2f}"


def prediction_table(prediction: Prediction, truth: Sequence[Segment] | None = None) -> str:
    """The segments of a video as lines of text, beside the true ones if these are known, and the warnings below."""
    lines = [f"{printable(str(prediction.path))}  {clock(prediction.duration)} s  {prediction.model_version}"]
    if truth is None:
        rows = [["start", "end", "score", "looks", "label", "text"]]
        rows += [[clock(s.start), clock(s.end), _score(s), s.looks, s.label, s.text] for s in prediction.segments]
        shown = [any(cells) or title not in ("looks", "text") for title, *cells in zip(*rows, strict=True)]
        rows = [[cell for cell, is_shown in zip(row, shown, strict=True) if is_shown] for row in rows]
    else:
        header = ["start", "end", "predicted", "start", "end", "true"]
        pairs = _side_by_side(prediction.segments, truth)
        rows = [header, *([*_cells(predicted), *_cells(true)] for predicted, true in pairs)]
    lines += _aligned(rows) if len(rows) > 1 else ["  no events"]
    if truth is not None:
        lines.append(f"  {_agreement(prediction.segments, truth)}")
    lines += [f"  {prediction.looked_again}"] if prediction.looked_again else []
    lines += [f"  warning: {printable(warning)}" for warning in prediction.warnings]
    return "\n".join(lines) + "\n"


def inspection_table(report: Mapping[str, Any]) -> str:
    """The report of `Pipeline.inspect` as lines of text: one for each temporal grid."""
    sound = "with sound" if report["has_audio"] else "no sound"
    lines = [
        f"{printable(report['video'])}  {clock(report['duration'])} s  {report['fps']:.3f} frames a second  {sound}"
    ]
    lines.append(f"  asked: {' / '.join(report['prompt'].splitlines())}")
    size = report["frames_per_grid"]
    for window in report["windows"]:
        frames, grids = window["frame_seconds"], window["grid_seconds"]
        lines.append(
            f"  {clock(window['start'])} to {clock(window['end'])}: {len(frames)} frames in {len(grids)} grids, "
            f"{window['second_per_grid']:.4f} s from one to the next; {window['prompt_tokens']} tokens, of which "
            f"{window['video_tokens']} of video and {window['audio_tokens']} of sound"
        )
        rows = [["grid", "frames at", "the model's clock"]]
        for index, second in enumerate(grids):
            pair = frames[index * size : (index + 1) * size]
            rows.append([str(index), " ".join(f"{frame:.3f}" for frame in pair), f"{second:.3f}"])
        lines += _aligned(rows)
        lines += [
            f"  held: the picture of {clock(hold['picture'])} from {clock(hold['start'])} to {clock(hold['end'])}"
            for hold in window["held"]
        ]
    return "\n".join(lines)


def _side_by_side(predicted: Sequence[Segment], true: Sequence[Segment]) -> list[tuple[Segment | None, Segment | None]]:
    """Each predicted segment with the true one it matches, in order of time; None where there is no partner."""
    matched = match(true, predicted)
    pairs: list[tuple[Segment | None, Segment | None]] = [(found, wanted) for wanted, found in matched]
    pairs += [(found, None) for found in predicted if all(found is not other for _, other in matched)]
    pairs += [(None, wanted) for wanted in true if all(wanted is not other for other, _ in matched)]
    return sorted(pairs, key=lambda pair: min(segment.start for segment in pair if segment))


def _agreement(predicted: Sequence[Segment], true: Sequence[Segment]) -> str:
    score, errors = event_f1(true, predicted), boundary_errors(true, predicted)
    words = f"{score.matched} of {len(true)} events found, F1 at IoU 0.5: {score.f1:.2f}"
    return f"{words}, start and end off by {statistics.median(errors):.2f} s (median)" if errors else words


def _score(segment: Segment) -> str:
    return "" if segment.score is None else f"{segment.score:.2f}"


def _cells(segment: Segment | None) -> list[str]:
    return [clock(segment.start), clock(segment.end), segment.label] if segment else ["", "", "-"]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows with their columns under each other: numbers to the right, words to the left, on one line each."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    numeric = [all(cell[:1].isdigit() or not cell for cell in column[1:]) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines
