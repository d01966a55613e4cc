"""The command `omni-timeline`: its parser, which command runs, and what exit code an error becomes.

torch and everything that needs it is imported by the command that runs, so that `--help` and mistyped options are
answered at once.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from omni_timeline import __version__
from omni_timeline.cli import evaluate, inspect, learn, predict, prelabel, serve, versions
from omni_timeline.cli.terminal import print_error, set_up_logging
from omni_timeline.errors import LabelConfigError, OmniTimelineError, RequestError

FAILED, USAGE = 1, 2  # exit codes; 0 and a video's failure are the commands' own
BROKEN_PIPE, INTERRUPTED = 141, 130  # the exit codes by which a shell reports SIGPIPE and SIGINT

DESCRIPTION = """\
Watches and listens to videos and writes down what happens from when to when.

examples:
  omni-timeline predict clip.mp4                           what the demo checkpoint sees and hears
  omni-timeline predict *.mp4 --view page.html             a page to look at it, in any browser
  omni-timeline predict *.mp4 --format jsonl               one JSON object a line, for other programs
  omni-timeline inspect clip.mp4 --sheet sheet.png         the frames that the model sees, and their times
  omni-timeline serve --port 9090                          a machine-learning backend for Label Studio
  omni-timeline evaluate --project 7 --report page.html    how good a project's suggestions are
  omni-timeline learn --project 7 --output versions/first  better suggestions from people's corrections
  omni-timeline versions --project 7                       what the server has learned, and which version it uses
  omni-timeline prelabel --project 12                      predicts all tasks of a Label Studio project
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; `argv` are its arguments, those of the process by default. Returns the exit code."""
    arguments = parser().parse_args(argv)
    set_up_logging()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # file names need not be UTF-8: they are printed unchanged
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except OmniTimelineError as error:
        print_error(str(error))
        return USAGE if isinstance(error, RequestError | LabelConfigError) else FAILED
    except BrokenPipeError:  # the reader has seen enough: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at exit
        return BROKEN_PIPE
    except OSError as error:  # one of the files to write: no permission, no space
        print_error(str(error))
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def parser() -> argparse.ArgumentParser:
    """The command line, with all commands."""
    top = argparse.ArgumentParser(
        prog="omni-timeline", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"omni-timeline {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (predict, inspect, serve, prelabel, evaluate, learn, versions):
        command.add_parser(commands)
    return top
