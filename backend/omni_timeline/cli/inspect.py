"""`omni-timeline inspect`: shows the model's exact input for a video."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from omni_timeline.cli.arguments import (
    add_command,
    add_input_arguments,
    add_model_arguments,
    load_pipeline,
    options_from,
)
from omni_timeline.cli.files import prepare
from omni_timeline.cli.terminal import print_lines, print_warning
from omni_timeline.errors import MediaError

DESCRIPTION = """\
Shows the model's exact input for a video: the frames, their times, and their times on the model's own clock.

examples:
  omni-timeline inspect clip.mp4
  omni-timeline inspect clip.mp4 --json | jq '.windows[0].grid_seconds'
  omni-timeline inspect clip.mp4 --sheet sheet.png --audio sound.wav
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the others."""
    parser = add_command(commands, "inspect", "show the model's input for a video", DESCRIPTION, run)
    parser.add_argument("video", type=Path, metavar="VIDEO")
    add_model_arguments(parser)
    add_input_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="draw the model's frames, each with its time")
    parser.add_argument("--audio", type=Path, metavar="WAV", help="write the sound that the model hears")


def run(arguments: argparse.Namespace) -> int:
    """Prints the report, and writes the frames and the sound.

    Raises:
        OmniTimelineError: the command line is invalid, the video cannot be read, or the model cannot be loaded.
        OSError: a file cannot be written.
    """
    prepare(arguments.sheet, ".png")
    prepare(arguments.audio, ".wav")
    options, pipeline = options_from(arguments), load_pipeline(arguments)

    from omni_timeline.export.drawings import contact_sheet
    from omni_timeline.export.tables import inspection_table
    from omni_timeline.timebase import SAMPLE_RATE

    clips = list(pipeline.clips(arguments.video, options))
    if arguments.audio and clips[0].audio is None:
        raise MediaError(f"{arguments.video} has no sound to write to {arguments.audio}")
    for number, clip in enumerate(clips, 1):
        if arguments.audio:
            import soundfile

            file = _numbered(arguments.audio, number, len(clips))
            soundfile.write(file, clip.audio, SAMPLE_RATE, subtype="FLOAT")  # bit for bit what the model hears
        if arguments.sheet:
            contact_sheet(clip).save(_numbered(arguments.sheet, number, len(clips)))
    report = pipeline.inspect(arguments.video, options)
    print_lines(json.dumps(report) if arguments.json else inspection_table(report))
    for warning in dict.fromkeys(warning for clip in clips for warning in clip.warnings):
        print_warning(warning)
    return 0


def _numbered(file: Path, number: int, count: int) -> Path:
    """The file of one window of `count`: sheet.png, or sheet-2.png where there are several."""
    return file if count == 1 else file.with_stem(f"{file.stem}-{number}")
