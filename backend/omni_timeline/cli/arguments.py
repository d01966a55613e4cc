"""The arguments that several commands share, and their values: the options of a prediction, a scheduler, a pipeline."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from omni_timeline.errors import RequestError
from omni_timeline.media.audio_track import AUDIO_TRACK_WORDS, AudioTrack, read_audio_track
from omni_timeline.model.prompts import Prompt
from omni_timeline.model.wire import QUANTIZATIONS
from omni_timeline.pipeline.options import DEFAULT_FRAMES, DEFAULT_WINDOW_SECONDS, PredictOptions, Remap, WindowSeconds

if TYPE_CHECKING:
    from omni_timeline.pipeline.pipeline import Pipeline
    from omni_timeline.pipeline.scheduler import Scheduler


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    description: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    """The parser of a new command, which `run` carries out and returns the exit code of."""
    parser = commands.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=run)
    return parser


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that choose the model and its devices."""
    group = parser.add_argument_group("the model")
    group.add_argument(
        "--model", metavar="demo|DIR|HUB_ID",
        help='the bundled "demo" checkpoint (default; it knows coloured shapes and tones and nothing else), a folder, '
        "or the name of a Qwen2.5-Omni checkpoint on a hub",
    )  # fmt: skip
    group.add_argument("--hub", choices=("huggingface", "modelscope"), help="where HUB_ID is (default: huggingface)")
    group.add_argument(
        "--device", metavar="DEVICE[,DEVICE]",
        help="cpu, cuda, cuda:1, ...; several with commas share the work, as in cuda:0,cuda:1 (default: a GPU where "
        "there is one)",
    )  # fmt: skip
    group.add_argument(
        "--quantization", choices=QUANTIZATIONS,
        help="load the weights in fewer bits, for GPUs of 8 to 16 GB; needs a library, see docs/operations.md",
    )  # fmt: skip


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments for the model's input and for its answers."""
    group = parser.add_argument_group("what the model is given and may answer")
    group.add_argument(
        "--frames", type=positive, default=DEFAULT_FRAMES, metavar="N",
        help="frames of each window (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--window-seconds", type=_window, default=DEFAULT_WINDOW_SECONDS, metavar="auto|N|whole",
        help="longer videos are seen in overlapping windows of at most this length; auto (the default): 48 s, with "
        "sound 25 s, and less where the model is unsure; whole: all at once, however long they are",
    )  # fmt: skip
    group.add_argument(
        "--refine", action="store_true", help="look a second time, closely, at where events start and end"
    )
    group.add_argument("--labels", type=_label_list, metavar="A,B", help="the only labels that the model can write")
    group.add_argument(
        "--prompt", type=Path, metavar="FILE", help="a text file with the prompt, instead of the default"
    )
    group.add_argument(
        "--unconstrained", action="store_true",
        help="do not hold answers to the grammar; for checkpoints trained to answer in another form",
    )  # fmt: skip
    group.add_argument(
        "--score-threshold", type=_fraction, default=0.0, metavar="0..1",
        help="leave out events whose score is lower (default: %(default)g)",
    )  # fmt: skip
    group.add_argument("--max-pixels", type=positive, metavar="N", help="at most this many pixels in a frame")
    group.add_argument(
        "--audio-track", type=_audio_track, metavar="N|all",
        help="which of several sound tracks is heard, counted from 1, or all together (default: the one browsers play)",
    )  # fmt: skip
    group.add_argument(
        "--remap", choices=get_args(Remap), default="real",
        help="the time that the model's positions stand for; all but the default are for comparison, see docs/remap.md",
    )  # fmt: skip


def options_from(arguments: argparse.Namespace) -> PredictOptions:
    """The options that the input arguments state.

    Raises:
        RequestError: they are invalid, or the prompt's file cannot be read.
    """
    return PredictOptions(
        frames=arguments.frames,
        window_seconds=arguments.window_seconds,
        labels=tuple(arguments.labels or ()),
        prompt=Prompt.from_file(arguments.prompt) if arguments.prompt else Prompt(),
        constrained=not arguments.unconstrained,
        refine=arguments.refine,
        score_threshold=arguments.score_threshold,
        max_pixels=arguments.max_pixels,
        audio_track=arguments.audio_track,
        remap=arguments.remap,
    )


def devices_from(written: str | None) -> list[str | None]:
    """The devices in "cuda:0,cuda:1"; for None a single None, which means a GPU where there is one.

    Raises:
        RequestError: one of them has no name.
    """
    if written is None:
        return [None]
    devices: list[str | None] = [name.strip() for name in written.split(",")]
    if not all(devices):
        raise RequestError(f"a list of devices needs a name between its commas, got {written!r}")
    return devices


def scheduler_for(arguments: argparse.Namespace) -> Scheduler:
    """The scheduler of the models that the model arguments name; it starts in a `with` block.

    Raises:
        RequestError: the list of devices is invalid.
    """
    from omni_timeline.model.isolated import models_on
    from omni_timeline.model.wire import Load
    from omni_timeline.pipeline.scheduler import Scheduler

    load = Load(arguments.model or "demo", arguments.hub or "huggingface", quantization=arguments.quantization)
    return Scheduler(models_on(devices_from(arguments.device), load))


def load_pipeline(arguments: argparse.Namespace) -> Pipeline:
    """The pipeline of the model that the model arguments name, in this process. Takes seconds, or minutes.

    Raises:
        ModelError: the checkpoint is missing or cannot be loaded.
    """
    from omni_timeline.model.checkpoint import Checkpoint
    from omni_timeline.pipeline.pipeline import Pipeline

    checkpoint = Checkpoint.find(arguments.model or "demo", arguments.hub or "huggingface")
    [device, *_] = devices_from(arguments.device)
    return Pipeline(checkpoint.family.load(checkpoint, device=device, quantization=arguments.quantization))


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _audio_track(text: str) -> AudioTrack:
    try:
        return read_audio_track(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be {AUDIO_TRACK_WORDS}; got {text!r}") from error


def _window(text: str) -> WindowSeconds:
    if text == "whole":
        return None
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be auto, a number of seconds or whole, got {text!r}") from error


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, got {text!r}")
    return value


def _label_list(text: str) -> list[str]:
    labels = [label.strip() for label in text.split(",") if label.strip()]
    if not labels:
        raise argparse.ArgumentTypeError(f"needs at least one label, got {text!r}")
    return labels
