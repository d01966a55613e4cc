"""`omni-timeline versions`: what was learned from a project's corrections, and which of it the server uses."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from omni_timeline.cli.arguments import add_command, positive
from omni_timeline.cli.terminal import print_lines
from omni_timeline.errors import OmniTimelineError, RequestError

if TYPE_CHECKING:
    from omni_timeline.learning.version import LearnedVersion
    from omni_timeline.learning.versions import LearnedVersions

DESCRIPTION = """\
Shows what the server has learned from the corrections of a project, and chooses what it predicts with. A choice holds
from the next time that Label Studio asks; predictions that it has stay as they are.

The versions are in CACHE_DIR, so that this has to run with the server's settings and on its machine: with Docker,
`docker compose exec backend omni-timeline versions --project 7`.

examples:
  omni-timeline versions --project 7                                         all versions, and which is in use
  omni-timeline versions show --project 7                                    the one in use: what it is worth
  omni-timeline versions show corrections-20261126-1a2b3c --project 7        another one
  omni-timeline versions use corrections-20261126-1a2b3c --project 7
  omni-timeline versions use base --project 7                                the model as it came
  omni-timeline versions back --project 7                                    what was in use before

exit codes: 0 done, 1 the choice could not be written, 2 there is no such version, or it cannot be used
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the others."""
    parser = add_command(commands, "versions", "choose what was learned from corrections", DESCRIPTION, run)
    parser.add_argument(
        "action", choices=("list", "show", "use", "back"), nargs="?", default="list", metavar="list|show|use|back",
        help="what to do (default: list)",
    )  # fmt: skip
    parser.add_argument("name", nargs="?", metavar="NAME", help="a version of the list, or base")
    parser.add_argument("--project", type=positive, required=True, metavar="N", help="the project's number")


def run(arguments: argparse.Namespace) -> int:
    """Shows or chooses.

    Raises:
        RequestError: there is no such version, or it cannot be used.
        OSError: the choice cannot be written.
    """
    from omni_timeline.learning.versions import LearnedVersions
    from omni_timeline.service.settings import Settings

    settings, project = Settings.from_env(), arguments.project
    versions = LearnedVersions.in_cache(settings.cache_dir)
    if arguments.name is not None and arguments.action in ("list", "back"):
        raise RequestError(f"versions {arguments.action} takes no name, got {arguments.name!r}")
    match arguments.action:
        case "use":
            if arguments.name is None:
                raise RequestError("versions use needs the name of a version, or base")
            versions.use(project, arguments.name, _local_checkpoint(settings.model, settings.quantization))
            print_lines(f"Project {project} is predicted with {arguments.name} from now on.")
        case "back":
            print_lines(f"Project {project} is predicted with {versions.back(project)} again.")
        case "show":
            print_lines(_told(versions, project, arguments.name or versions.chosen(project)))
        case _:
            print_lines(_listed(versions, project))
    return 0


def _listed(versions: LearnedVersions, project: int) -> str:
    """A line for each version, newest first; a star marks the one in use."""
    from omni_timeline.learning.versions import BASE

    lines = []
    chosen = versions.chosen(project)
    for name in versions.names(project):
        try:
            version: LearnedVersion | None = versions.load(project, name)
            words = "" if version is None or version.is_offered else "not offered. "
            words += "" if version is None else version.reason
        except RequestError as error:
            words = str(error)
        lines.append(f"{'*' if name == chosen else ' '} {name}  {words}")
    return "\n".join([*lines, f"{'*' if chosen == BASE else ' '} {BASE:27}  The model as it came."])


def _told(versions: LearnedVersions, project: int, name: str) -> str:
    """What a version is."""
    from omni_timeline.learning.version import PAGE
    from omni_timeline.learning.versions import BASE

    if name == BASE:
        return f"{BASE}: the model as it came."
    version = versions.load(project, name)
    made_from = version.made_from
    return "\n".join(
        [
            f"{name}: {'offered' if version.is_offered else 'not offered'}. {version.reason}",
            f"model version  {version.model_version}",
            f"made           {version.made_at}, on the checkpoint {version.base}",
            f"made from      {made_from.source}: {made_from.annotations} annotations, {len(made_from.learned)} videos "
            f"learned from, {len(made_from.held_out)} held out",
            f"report         {versions.project(project) / name / PAGE}",
        ]
    )


def _local_checkpoint(model: str, quantization: str | None) -> str | None:
    """The version of the server's checkpoint; None for one that is not on this machine: the server looks then."""
    from omni_timeline.model.checkpoint import Checkpoint

    try:
        return Checkpoint.find(model).quantized_version(quantization) if Checkpoint.is_local(model) else None
    except (OmniTimelineError, OSError):
        return None
