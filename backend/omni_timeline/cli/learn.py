"""`omni-timeline learn`: makes a learned version of a project's corrections."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from omni_timeline.cli.arguments import (
    add_command,
    add_input_arguments,
    add_model_arguments,
    load_pipeline,
    positive,
)
from omni_timeline.cli.evaluate import summary
from omni_timeline.cli.source import SOURCE_HELP, add_source_arguments, open_model, open_source, options_for
from omni_timeline.cli.terminal import print_lines, show_progress
from omni_timeline.errors import OmniTimelineError, RequestError

if TYPE_CHECKING:
    from omni_timeline.learning.learn import Outcome

OFFERED, NOT_OFFERED = 0, 3  # exit codes

DESCRIPTION = f"""\
Learns from the corrections of a project how it reads the model: what it calls things, where it begins and ends them,
what scores are worth. The model is asked about each corrected video twice. Where suggestions for held-out tasks are
still poor then, an adapter is trained; without a GPU that takes hours with all but the demo checkpoint. A training that
is interrupted goes on when the same command is given again.

The version is a folder with everything it is and a report. It is offered only where it is no worse on tasks that it was
not learned from; otherwise the report says why not.

examples:
  omni-timeline learn export.json --videos videos/ --label-config config.xml --output versions/first
  omni-timeline learn --project 7 --output versions/first
  omni-timeline predict clip.mp4 --learned versions/first
  omni-timeline evaluate --project 7 --learned versions/first --report report.html

{SOURCE_HELP}
exit codes: 0 a version is offered, 1 nothing could be learned, 2 the command line is invalid, 3 not offered: no better
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the others."""
    parser = add_command(commands, "learn", "learn from a project's corrections", DESCRIPTION, run)
    add_source_arguments(parser)
    group = parser.add_argument_group("what comes out")
    group.add_argument("--output", type=Path, required=True, metavar="DIR", help="the folder of the version; a new one")
    group = parser.add_argument_group("how it is learned")
    group.add_argument("--no-training", action="store_true", help="calibrate only, and train no adapter")
    group.add_argument(
        "--train-towers", action="store_true",
        help="let an adapter change what sees and hears too, not only the language model: for looks and sounds that "
        "the model has never met; slower",
    )  # fmt: skip
    group.add_argument(
        "--replay", type=Path, metavar="FOLDER",
        help="videos about which the model is to go on answering as it does now while an adapter is trained; nobody "
        "needs to have annotated them",
    )  # fmt: skip
    group.add_argument(
        "--max-minutes", type=positive, metavar="N",
        help="ask the model for at most so long, and train for at most so long; videos that it did not come to are not "
        "learned from",
    )  # fmt: skip
    add_model_arguments(parser)
    add_input_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Learns, writes the version and prints what it is worth.

    Raises:
        OmniTimelineError: the corrections or the model cannot be used, or the folder is not free.
        OSError: the version cannot be written.
    """
    from omni_timeline.learning.learn import learn
    from omni_timeline.learning.report.page import page
    from omni_timeline.learning.version import check_room

    check_room(arguments.output)
    replay = _files(arguments.replay) if arguments.replay else ()
    source = open_source(arguments)
    options = options_for(arguments, source)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with open_model(arguments) as model, show_progress() as on_progress:
        outcome = learn(source, model, options, now, on_progress, max_seconds=60.0 * (arguments.max_minutes or 0))
    if not arguments.no_training:
        outcome = _train(arguments, outcome, replay)
    version, report = outcome.version, page(outcome.evaluation, outcome.version, outcome.parts)
    version.save(arguments.output, outcome.evaluation.as_object(), report)
    print_lines(summary(outcome.evaluation))
    shutil.rmtree(_run_folder(arguments.output), ignore_errors=True)
    print_lines(f"{'Offered' if version.is_offered else 'Not offered'}. {version.reason}")
    if version.training:
        print_lines(version.training)
    print_lines(f"{version.name}: {arguments.output / 'report.html'}")
    return OFFERED if version.is_offered else NOT_OFFERED


def _train(arguments: argparse.Namespace, outcome: Outcome, replay: tuple[Path, ...]) -> Outcome:
    """The outcome with an adapter, where one is needed and helps; the model that was asked before is gone by now."""
    from omni_timeline.learning.improve import TrainingPlan, improve, why_not
    from omni_timeline.learning.training import WITH_TOWERS, Recipe

    if sentence := why_not(outcome):
        return replace(outcome, version=replace(outcome.version, training=sentence))
    plan = TrainingPlan(
        _run_folder(arguments.output),
        WITH_TOWERS if arguments.train_towers else Recipe(),
        replay,
        60.0 * (arguments.max_minutes or 0),
    )
    try:
        with show_progress() as on_progress:
            return improve(outcome, load_pipeline(arguments).model, plan, on_progress)
    except OmniTimelineError as error:  # the calibration is there, and worth having
        return replace(outcome, version=replace(outcome.version, training=f"Training was given up. {error}"))


def _run_folder(output: Path) -> Path:
    """Where an interrupted training goes on: beside the version's folder, which is written at the end."""
    return output.with_name(f"{output.name}.training")


def _files(folder: Path) -> tuple[Path, ...]:
    """All files in a folder, in the order of their names.

    Raises:
        RequestError: there is no such folder, or nothing in it.
    """
    if not folder.is_dir() or not (found := tuple(sorted(path for path in folder.iterdir() if path.is_file()))):
        raise RequestError(f"There are no videos in {folder}: --replay names a folder with some.")
    return found
