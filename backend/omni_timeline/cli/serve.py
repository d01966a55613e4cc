"""`omni-timeline serve`: serves predictions to Label Studio over HTTP."""

from __future__ import annotations

import argparse
from dataclasses import replace

from omni_timeline.cli.arguments import add_command, add_model_arguments, positive

DESCRIPTION = """\
Serves predictions to Label Studio over HTTP. In Label Studio: Settings > Model > Connect Model, then this URL.
For more than a trial, run gunicorn: see docs/operations.md, which also lists all settings, which are environment
variables. An option given here wins over its variable.

examples:
  omni-timeline serve
  omni-timeline serve --host 0.0.0.0 --port 9090 --model Qwen/Qwen2.5-Omni-3B
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the others."""
    parser = add_command(commands, "serve", "serve predictions to Label Studio", DESCRIPTION, run)
    parser.add_argument("--host", help="address to listen on, 0.0.0.0 for all (default: $BIND or 127.0.0.1)")
    parser.add_argument("--port", type=positive, help="port to listen on (default: $PORT or 9090)")
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serves until it is stopped.

    Raises:
        RequestError: a setting is invalid.
    """
    from omni_timeline.service.gunicorn import serve
    from omni_timeline.service.settings import Settings

    settings = Settings.from_env()
    given = {name: getattr(arguments, name) for name in ("model", "hub", "device")}
    settings = replace(settings, **{name: value for name, value in given.items() if value is not None})
    serve(settings, arguments.host, arguments.port)
    return 0
