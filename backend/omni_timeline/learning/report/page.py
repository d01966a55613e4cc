"""The page: what is said first, the sections in their order, and how to read them. Writes no file."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from omni_timeline.learning.calibrate import Part
from omni_timeline.learning.evaluation import Evaluation
from omni_timeline.learning.report.faults import (
    agreement_section,
    confusion_section,
    edges_section,
    scores_section,
    worst_section,
)
from omni_timeline.learning.report.learned import learned_section
from omni_timeline.learning.report.markup import NAMES, counted, interval_of
from omni_timeline.learning.report.numbers import curve_section, effort_section, quality_section
from omni_timeline.learning.version import LearnedVersion

TEMPLATES = Path(__file__).parent / "templates"
MAX_FAILURES = 10  # that are told one by one
FEW = 10  # tasks below which a number is hardly more than a guess
TRAP = (
    "People who begin from a suggestion leave much of it as it is. So corrected annotations lean towards the model "
    "version they began from: its numbers come out somewhat too good, above all its recall and its edges, and another "
    "version is measured against it on its own ground. A few tasks annotated from scratch, with predictions hidden, "
    "tell the truth; star them in Label Studio, and they are what is measured here."
)
DEFINITIONS = (
    "An event is found where a segment of its label overlaps it by at least the IoU, intersection over union; each "
    "counts once. F1 is the harmonic mean of precision (found segments that are right) and recall (events that were "
    "found). Mean IoU counts an event that was missed as 0. mAP is ActivityNet's: average precision at IoU 0.5 to "
    "0.95, mean over labels. Edges in 0.5 s is the F1 of starts and ends that lie within half a second, whatever "
    "their labels."
)


def page(evaluation: Evaluation, version: LearnedVersion | None = None, parts: Sequence[Part] = ()) -> str:
    """The page as HTML, in UTF-8.

    Args:
        evaluation: the numbers.
        version: the learned version among them, if there is one.
        parts: how each part of it proved itself, for a report of learning.
    """
    title = f"Suggestions for {evaluation.source}"
    sections = (
        _head(title, evaluation),
        _verdict(version) if version else "",
        _headlines(evaluation),
        _learned(version, parts) if version else "",
        effort_section(evaluation.effort),
        quality_section(evaluation),
        confusion_section(evaluation),
        scores_section(evaluation),
        edges_section(evaluation),
        agreement_section(evaluation),
        worst_section(evaluation),
        curve_section(evaluation),
        _how_to_read(evaluation),
    )
    return Template((TEMPLATES / "report.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        body="\n".join(section for section in sections if section),
    )


def _head(title: str, evaluation: Evaluation) -> str:
    newest = evaluation.versions[-1].quality
    few = " These are few: read every number with its interval." if newest.tasks < FEW else ""
    return (
        f"<h1>{escape(title)}</h1>"
        f'<p class="faint">Checkpoint <code>{escape(evaluation.checkpoint)}</code> · '
        f"{counted(evaluation.tasks, 'corrected task')}, {counted(evaluation.annotations, 'annotation')}</p>"
        f"<p>{escape(evaluation.split)} Quality is measured on {escape(evaluation.measured_on)} "
        f"({counted(newest.tasks, 'task')}, {counted(newest.corrected, 'event')}).{few}</p>"
    )


def _verdict(version: LearnedVersion) -> str:
    kind, words = (
        ("", "This version is offered.")
        if version.is_offered
        else (" no", "This version is not offered. Nothing changes.")
    )
    return (
        f'<div class="verdict{kind}"><strong>{words}</strong>{escape(version.reason)}<br>'
        f"<small>{escape(version.name)} · its predictions have the model version "
        f"<code>{escape(version.model_version)}</code></small></div>"
    )


def _learned(version: LearnedVersion, parts: Sequence[Part]) -> str:
    adapter = version.options.adapter
    return learned_section(version.calibration, parts, version.training, adapter.version if adapter else "")


def _headlines(evaluation: Evaluation) -> str:
    newest, agreement = evaluation.versions[-1], evaluation.agreement
    f1 = newest.quality.f1["0.5"]
    heads = [(f"F1, {NAMES[newest.name]}", f"{f1.value:.2f}", interval_of(f1))]
    if newest.before is not None:
        change = newest.before.f1["0.5"]
        heads.append(("against the version before", f"{change.value:+.2f}", interval_of(change, signed=True)))
    shown = [each for each in evaluation.effort if each.is_shown]
    if suggested := sum(each.suggested for each in shown):
        kept = sum(each.kept for each in shown)
        heads.append(("suggestions that were kept", f"{kept / suggested:.0%}", f"{kept} of {suggested}"))
    if agreement is not None:
        heads.append(("F1 of two people", f"{agreement.f1['0.5']:.2f}", counted(agreement.tasks, "task")))
    cells = "".join(
        f'<div class="head"><small>{escape(name)}</small><b>{value}</b><small>{note}</small></div>'
        for name, value, note in heads
    )
    return f'<div class="heads">{cells}</div>'


def _how_to_read(evaluation: Evaluation) -> str:
    left_out = "; ".join(f"{count} {what}" for what, count in evaluation.left_out.items())
    failures = "; ".join(f"task {task}: {why}" for task, why in list(evaluation.failures.items())[:MAX_FAILURES])
    notes = [
        TRAP,
        DEFINITIONS,
        "Intervals hold 95 of 100 draws of as many tasks, with replacement. Where two versions are compared, the same "
        "tasks are drawn for both.",
        f"Left out: {left_out}." if left_out else "",
        f"Without a prediction: {failures}" if failures else "",
    ]
    return "<h2>How to read this</h2>" + "".join(f"<p>{escape(note)}</p>" for note in notes if note)
