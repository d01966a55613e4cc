"""What was learned, in words."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from omni_timeline.learning.calibrate import Part
from omni_timeline.learning.report.markup import MAX_LABELS, table
from omni_timeline.pipeline.calibration import ANY, Calibration, label_key

NOTHING = "nothing: it is left out"


def learned_section(calibration: Calibration, parts: Sequence[Part], training: str = "", adapter: str = "") -> str:
    """How the model is asked and read, and which parts proved themselves.

    Args:
        calibration: what was learned.
        parts: those that were tried; empty where they are no longer known.
        training: what came of training, in a sentence or two.
        adapter: the version of the adapter that is used; "" for none.
    """
    tried = table(
        ["part", "measure", "without", "with", ""],
        [
            (part.name, part.measure, f"{part.before:.3f}", f"{part.after:.3f}", "kept" if part.kept else "left out")
            for part in parts
        ],
        numeric=(2, 3),
    )
    proof = (
        "<p>Each part is learned from all tasks but one and tried on that one, each in its turn; it is kept only where "
        f"it clearly helps there. Agreement is F1 in which a match counts as much as it overlaps.</p>{tried}"
    )
    trained = f"<p>{escape(training)}</p>" if training else ""
    if adapter:
        return f"<h2>What was learned</h2><p>An adapter of the model, {escape(adapter)}.</p>{trained}"
    words = f"{_asked(calibration)}{proof if parts else ''}"
    return f"<h2>What was learned</h2>{words}{_names(calibration)}{_numbers(calibration)}{trained}"


def _asked(calibration: Calibration) -> str:
    if calibration.changes_nothing:
        return "<p>Nothing: the model is asked and read as before.</p>"
    match calibration.asked:
        case None:
            words = "The model is asked with the project's labels, as before."
        case ():
            words = "The model says in its own words what it sees and hears; the list below makes labels of them."
        case labels:
            words = f"The model is asked with other labels than the project's: {', '.join(labels)}."
    return f"<p>{escape(words)}</p>"


def _names(calibration: Calibration) -> str:
    """What is called otherwise than the model says it."""
    changed = [
        (said, name)
        for said, name in calibration.names
        if said != ANY and (name is None or label_key(name) != label_key(said))
    ]
    if not changed:
        return ""
    rows = [(said, name or NOTHING) for said, name in changed[:MAX_LABELS]]
    if len(changed) > MAX_LABELS:
        rows.append((f"and {len(changed) - MAX_LABELS} more", ""))
    if ANY in dict(calibration.names):
        rows.append(("anything else", dict(calibration.names)[ANY] or NOTHING))
    return "<h3>What the model says, and what the project calls it</h3>" + table(["said", "called"], rows)


def _numbers(calibration: Calibration) -> str:
    words = [
        f"Edges of {_of(label, calibration.edges)}: starts {start:+.2f} s, ends {end:+.2f} s."
        for label, start, end in calibration.edges
    ]
    if calibration.score is not None:
        slope, offset = calibration.score
        words.append(f"Scores: log-odds times {slope:.2f}, then {offset:+.2f}.")
    words += [
        f"Least score of {_of(label, calibration.thresholds)}: {threshold:.2f}."
        for label, threshold in calibration.thresholds
        if threshold > 0
    ]
    return "".join(f"<p>{escape(each)}</p>" for each in words)


def _of(label: str, entries: Sequence[object]) -> str:
    if label != ANY:
        return label
    return "all labels" if len(entries) == 1 else "other labels"
