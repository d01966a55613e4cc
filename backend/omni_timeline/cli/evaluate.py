"""`omni-timeline evaluate`: measures the suggestions of a project against people's corrections of them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from omni_timeline.cli.arguments import add_command, add_input_arguments, add_model_arguments
from omni_timeline.cli.files import prepare, write_text
from omni_timeline.cli.source import SOURCE_HELP, add_source_arguments, open_model, open_source, options_for
from omni_timeline.cli.terminal import print_lines, show_progress

if TYPE_CHECKING:
    from omni_timeline.learning.evaluation import Evaluation

DESCRIPTION = f"""\
Measures the suggestions of a project against people's corrections of them: the work that they leave, how good they are,
what goes wrong, and what a learned version adds. docs/learning.md explains every number.

examples:
  omni-timeline evaluate export.json --videos videos/ --label-config config.xml --report report.html
  omni-timeline evaluate --project 7 --report report.html
  omni-timeline evaluate --project 7 --learned versions/first --report report.html
  omni-timeline evaluate --project 7 --json | jq '.versions[-1].quality.f1'

{SOURCE_HELP}
exit codes: 0 measured, 1 the measurement failed, 2 the command line is invalid
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the others."""
    parser = add_command(commands, "evaluate", "measure a project's suggestions", DESCRIPTION, run)
    add_source_arguments(parser)
    group = parser.add_argument_group("what is measured")
    group.add_argument(
        "--learned", type=Path, metavar="DIR",
        help="a learned version to compare with the model alone, on tasks that it was not learned from",
    )  # fmt: skip
    group.add_argument(
        "--no-curve", action="store_true",
        help="leave out the curve that shows whether more corrections would help; it asks the model twice",
    )  # fmt: skip
    group = parser.add_argument_group("what comes out")
    group.add_argument("--report", type=Path, metavar="HTML", help="write a page with all numbers and pictures")
    group.add_argument("--json", action="store_true", help="print all numbers as one JSON object")
    add_model_arguments(parser)
    add_input_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measures and prints.

    Raises:
        OmniTimelineError: the corrections, the version or the model cannot be used.
        OSError: the report cannot be written.
    """
    from omni_timeline.learning.learn import measure
    from omni_timeline.learning.report.page import page
    from omni_timeline.learning.version import LearnedVersion

    prepare(arguments.report, ".html")
    version = LearnedVersion.load(arguments.learned) if arguments.learned else None
    source = open_source(arguments)
    options = options_for(arguments, source)
    with open_model(arguments) as model, show_progress() as on_progress:
        evaluation = measure(source, model, options, version, on_progress, with_curve=not arguments.no_curve)
    if arguments.report:
        write_text(arguments.report, page(evaluation, version))
    print_lines(json.dumps(evaluation.as_object()) if arguments.json else summary(evaluation))
    return 0


def summary(evaluation: Evaluation) -> str:
    """The most important numbers, as lines of text."""
    lines = [f"{evaluation.source}: {evaluation.tasks} corrected tasks, {evaluation.annotations} annotations"]
    lines += [evaluation.split, f"Measured on {evaluation.measured_on}."]
    lines.append(f"{'':28}{'tasks':>6}{'F1 .3':>8}{'F1 .5':>8}{'F1 .7':>8}{'prec.':>8}{'recall':>8}{'mAP':>8}")
    for each in evaluation.versions:
        quality = each.quality
        name = f"{each.name} {each.model_version[-19:]}"
        found = [quality.f1[iou] for iou in ("0.3", "0.5", "0.7")]
        numbers = [*found, quality.precision, quality.recall, quality.mean_average_precision]
        lines.append(f"{name:28}{quality.tasks:>6}" + "".join(f"{number.value:>8.3f}" for number in numbers))
    for effort in evaluation.effort:
        if effort.is_shown:
            lines.append(
                f"{effort.version}: {effort.suggested} suggested, {effort.kept} kept, {effort.moved} moved, "
                f"{effort.renamed} renamed, {effort.deleted} deleted, {effort.added} added"
            )
    lines += [f"task {task}: {why}" for task, why in evaluation.failures.items()]
    return "\n".join(lines)
