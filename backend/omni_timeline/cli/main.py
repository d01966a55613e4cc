"""The command `omni-timeline`: reads the arguments, runs the pipeline, prints.

The only place that prints. torch and everything that needs it is imported by the command that runs, so that `--help`
and a mistyped option answer at once.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import mimetypes
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from omni_timeline import __version__
from omni_timeline.errors import LabelConfigError, MediaError, OmniTimelineError, RequestError
from omni_timeline.export import formats
from omni_timeline.export.formats import Format
from omni_timeline.pipeline.options import DEFAULT_FRAMES, DEFAULT_WINDOW_SECONDS, PredictOptions, Remap
from omni_timeline.pipeline.prediction import Failure, Prediction, Progress

if TYPE_CHECKING:
    from omni_timeline.label_studio.labeling_config import LabelConfig
    from omni_timeline.pipeline.pipeline import Pipeline
    from omni_timeline.segments import Segment

OK, FAILED, USAGE = 0, 1, 2  # exit codes
BROKEN_PIPE, INTERRUPTED = 141, 130  # what a shell reports of a command ended by SIGPIPE, by SIGINT
LOCAL_FILES_URL = "/data/local-files/?d="  # how Label Studio names a file of its local storage

DESCRIPTION = """\
Watches and listens to videos and writes down what happens from when to when.

examples:
  omni-timeline predict clip.mp4                           what the demo checkpoint sees and hears
  omni-timeline predict *.mp4 --view page.html             a page to look at it, in any browser
  omni-timeline predict *.mp4 --format jsonl               one JSON object a line, for other programs
  omni-timeline inspect clip.mp4 --sheet sheet.png         what the model is shown, and when each frame is
  omni-timeline serve --port 9090                          a machine-learning backend for Label Studio
"""

PREDICT = """\
Prints the events of each video with their start and end in seconds.

examples:
  omni-timeline predict clip.mp4
  omni-timeline predict clip.mp4 --model Qwen/Qwen2.5-Omni-3B --device cuda:1
  omni-timeline predict clip.mp4 --labels "speech,applause,music"
  omni-timeline predict lecture.mp4 --window-seconds 25 --refine
  omni-timeline predict *.mp4 --view page.html --timeline timeline.png
  omni-timeline predict *.mp4 --format jsonl | jq -c '.segments[] | [.start, .end, .label]'
  omni-timeline predict *.mp4 --format csv --output events.csv
  omni-timeline predict *.mp4 --format eaf --output elan/
  omni-timeline predict *.mp4 --format label-studio --label-config label_config.xml --output import.json

exit codes: 0 all videos predicted, 1 some failed (the others are printed), 2 the command is not right
"""

INSPECT = """\
Shows exactly what the model is given of a video: which frames, at which times, and where its own clock puts them.

examples:
  omni-timeline inspect clip.mp4
  omni-timeline inspect clip.mp4 --json | jq '.windows[0].grid_seconds'
  omni-timeline inspect clip.mp4 --sheet sheet.png --audio sound.wav
"""

SERVE = """\
Serves predictions to Label Studio over HTTP. In Label Studio: Settings > Model > Connect Model, then this URL.
For more than trying out, run gunicorn: see docs/operations.md, which also lists the environment variables that set
what has no option here. An option given here wins over its variable.

examples:
  omni-timeline serve
  omni-timeline serve --host 0.0.0.0 --port 9090 --model Qwen/Qwen2.5-Omni-3B
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; `argv` are its arguments, those of the process by default. Returns the exit code."""
    arguments = _parser().parse_args(argv)
    _set_up_logging()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # file names need not be UTF-8: they come out as they are
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except OmniTimelineError as error:
        _complain(str(error))
        return USAGE if isinstance(error, RequestError | LabelConfigError) else FAILED
    except BrokenPipeError:  # the reader has seen enough: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at exit
        return BROKEN_PIPE
    except OSError as error:  # one of the files to write: no permission, no space
        _complain(str(error))
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="omni-timeline", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"omni-timeline {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    predict = _command(commands, "predict", "print the events of videos", PREDICT, _predict)
    predict.add_argument("videos", nargs="+", type=Path, metavar="VIDEO")
    _add_model_options(predict)
    _add_input_options(predict)
    predict.add_argument(
        "--label-config", type=Path, metavar="FILE",
        help="a Label Studio labeling config: its labels, and its model_* attributes in place of the options above",
    )  # fmt: skip
    predict.add_argument(
        "--truth", action="store_true",
        help='compare with what really happens, read from clip.json beside clip.mp4: {"events": [{"start": 3.2, '
        '"end": 7.8, "label": "red square"}]}',
    )  # fmt: skip
    _add_output_options(predict)

    inspect = _command(commands, "inspect", "show what the model is given of a video", INSPECT, _inspect)
    inspect.add_argument("video", type=Path, metavar="VIDEO")
    _add_model_options(inspect)
    _add_input_options(inspect)
    inspect.add_argument("--json", action="store_true", help="everything, as one JSON object")
    inspect.add_argument("--sheet", type=Path, metavar="PNG", help="draw the frames it sees, each with its time")
    inspect.add_argument("--audio", type=Path, metavar="WAV", help="write the sound it hears")

    serve = _command(commands, "serve", "serve predictions to Label Studio", SERVE, _serve)
    serve.add_argument("--host", help="address to listen on, 0.0.0.0 for all (default: $BIND or 127.0.0.1)")
    serve.add_argument("--port", type=_positive, help="port to listen on (default: $PORT or 9090)")
    _add_model_options(serve)
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    description: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=run)
    return parser


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the model")
    group.add_argument(
        "--model", metavar="demo|DIR|HUB_ID",
        help='the bundled "demo" checkpoint (default; it knows coloured shapes and tones and nothing else), a folder, '
        "or the name of a Qwen2.5-Omni checkpoint on a hub",
    )  # fmt: skip
    group.add_argument("--hub", choices=("huggingface", "modelscope"), help="where HUB_ID is (default: huggingface)")
    group.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU where there is one)")


def _add_input_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what the model is given, and may say")
    group.add_argument(
        "--frames", type=_positive, default=DEFAULT_FRAMES, metavar="N",
        help="frames of each window (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--window-seconds", type=_window, default=DEFAULT_WINDOW_SECONDS, metavar="N|whole",
        help="longer videos are seen in overlapping windows of at most this (default: %(default)g; 25 is the rate the "
        "model was trained at), or whole, however long they are",
    )  # fmt: skip
    group.add_argument("--refine", action="store_true", help="look again, closely, at where events begin and end")
    group.add_argument("--labels", type=_label_list, metavar="A,B", help="the only labels there are")
    group.add_argument("--prompt", type=Path, metavar="FILE", help="the words to ask with, instead of the default ones")
    group.add_argument(
        "--unconstrained", action="store_true",
        help="let the model write what it will; for checkpoints trained to answer in another form",
    )  # fmt: skip
    group.add_argument(
        "--score-threshold", type=_fraction, default=0.0, metavar="0..1",
        help="leave out events that the model is less sure of (default: %(default)g)",
    )  # fmt: skip
    group.add_argument("--max-pixels", type=_positive, metavar="N", help="pixels of a frame, at most")
    group.add_argument(
        "--remap", choices=get_args(Remap), default="real",
        help="the time that the model's positions stand for; all but the default are for comparison, see docs/remap.md",
    )  # fmt: skip


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what comes out")
    group.add_argument(
        "--format", choices=get_args(Format), default="table",
        help="table (default); json, jsonl: an object for each video, in a list or one a line; csv: a line for each "
        "segment; vtt, srt: captions; eaf: ELAN; label-studio: tasks for its import, needs --label-config",
    )  # fmt: skip
    group.add_argument("--json", action="store_const", const="jsonl", dest="format", help="short for --format jsonl")
    group.add_argument(
        "--output", default="-", metavar="FILE",
        help="where to write it (default: -, the terminal); vtt, srt and eaf of several videos need a folder",
    )  # fmt: skip
    group.add_argument(
        "--video-url", default=LOCAL_FILES_URL, metavar="PREFIX",
        help="what stands before the file name in Label Studio's tasks (default: %(default)s)",
    )  # fmt: skip
    group.add_argument("--view", type=Path, metavar="HTML", help="write a page with the videos and their timelines")
    group.add_argument("--embed", action="store_true", help="put the videos into this page instead of linking to them")
    group.add_argument("--timeline", type=Path, metavar="PNG", help="draw the timelines of all videos")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _window(text: str) -> float | None:
    if text == "whole":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be a number of seconds or whole, got {text!r}") from error


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


def _set_up_logging() -> None:
    """Log lines go to stderr: all of ours where somebody is looking, else warnings only. A server sets its own."""
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s: %(message)s")
    logging.getLogger("omni_timeline").setLevel(logging.INFO if sys.stderr.isatty() else logging.WARNING)


def _complain(message: str) -> None:
    print(f"omni-timeline: error: {message}", file=sys.stderr, flush=True)


def _predict(arguments: argparse.Namespace) -> int:
    config = _label_config(arguments)
    truths = {video: _truth(video) for video in arguments.videos} if arguments.truth else {}
    if arguments.embed and not arguments.view:
        raise RequestError("--embed needs --view FILE, the page that the videos are put into")
    _make_room(arguments.timeline, ".png")
    _make_room(arguments.view, ".html")
    with _output(arguments) as write:
        pipeline, options = _pipeline(arguments, config)

        predictions, objects = [], []
        if arguments.format == "csv":
            write(None, formats.csv_header())
        for result in _with_progress(pipeline, options, arguments.videos):
            if isinstance(result, Failure):
                reason = str(result.error)
                _complain(reason if result.path.name in reason else f"{result.path}: {reason}")
                found = {"video": str(result.path), "error": reason}
            else:
                if config:
                    result = replace(result, segments=tuple(map(config.labeled, result.segments)))
                predictions.append(result)
                found = formats.as_object(result)
            if arguments.format == "json":
                objects.append(found)
            elif arguments.format == "jsonl":
                write(None, json.dumps(found) + "\n")
            elif not isinstance(result, Failure):
                write(result.path, _as_text(result, arguments, truths.get(result.path)))
        if arguments.format == "label-studio" and config:
            objects = [formats.label_studio_task(found, config, arguments.video_url) for found in predictions]
        if arguments.format in ("json", "label-studio"):
            write(None, formats.as_json(objects))
    if arguments.timeline and predictions:
        from omni_timeline.export import drawings as views

        views.timeline(predictions, truths).save(arguments.timeline)
    if arguments.view and predictions:
        _write_page(arguments, predictions, truths)
    return OK if len(predictions) == len(arguments.videos) else FAILED


def _as_text(prediction: Prediction, arguments: argparse.Namespace, truth: Sequence[Segment] | None) -> str:
    """What one video adds to the output; "" in a format that is written at the end."""
    match arguments.format:
        case "table":
            from omni_timeline.export import drawings as views

            return views.prediction_table(prediction, truth) + "\n"
        case "csv":
            return formats.csv_rows(prediction)
        case "vtt":
            return formats.webvtt(prediction)
        case "srt":
            return formats.subrip(prediction)
        case "eaf":
            return formats.elan(prediction, _folder_of(arguments))
    return ""


@contextmanager
def _output(arguments: argparse.Namespace) -> Iterator[Callable[[Path | None, str], None]]:
    """Where the output goes: a function that takes the video a text is about and the text.

    That is stdout or one file for everything, and a folder with a file for each video in the formats that are about
    one video. Whether that can be is known before the work begins.
    """
    output, videos = arguments.output, arguments.videos
    if arguments.format in formats.ONE_VIDEO and (len(videos) > 1 or _is_folder(output)):
        if output == "-" or (Path(output).exists() and not Path(output).is_dir()):
            raise RequestError(
                f"--format {arguments.format} writes a file for each video: name a folder for them with --output"
            )
        files = {video: Path(output) / f"{video.stem}.{arguments.format}" for video in videos}
        for file in files.values():
            if (clashing := [str(video) for video in videos if files[video] == file])[1:]:
                raise RequestError(f"{' and '.join(clashing)} would both be written to {file}: predict them apart")
        Path(output).mkdir(parents=True, exist_ok=True)

        def write(video: Path | None, text: str) -> None:
            if video:
                _write(files[video], text)

        yield write
    elif output == "-":
        yield lambda _, text: print(text, end="", flush=True)
    else:
        if (mimetypes.guess_type(output)[0] or "").startswith("video/"):  # `--output a.mp4 b.mp4` would be its end
            raise RequestError(f"--output {output} is the name of a video: name the file to write")
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        with Path(output).open("w", encoding="utf-8", errors="surrogateescape", newline="", buffering=1) as opened:
            yield lambda _, text: print(text, end="", file=opened)


def _is_folder(output: str) -> bool:
    return output.endswith("/") or Path(output).is_dir()


def _folder_of(arguments: argparse.Namespace) -> Path:
    """The folder that the output is in."""
    if arguments.output == "-":
        return Path()
    several = len(arguments.videos) > 1 or _is_folder(arguments.output)
    return Path(arguments.output) if several else Path(arguments.output).parent


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", newline="")


def _write_page(
    arguments: argparse.Namespace, predictions: Sequence[Prediction], truths: Mapping[Path, Sequence[Segment]]
) -> None:
    from omni_timeline.export import page
    from omni_timeline.media.video import probe

    size = page.embedded_size(predictions) if arguments.embed else 0
    if size > page.LARGE:
        print(
            f"omni-timeline: warning: {arguments.view} has {size / 2**20:.0f} MiB of videos in it, which browsers are "
            "slow to open; without --embed it links to them",
            file=sys.stderr,
        )
    rates = {prediction.path: probe(prediction.path).fps for prediction in predictions}
    folder = arguments.view.parent
    text = page.page(predictions, folder=folder, truths=truths, frame_rates=rates, embed=arguments.embed)
    _write(arguments.view, text)


def _inspect(arguments: argparse.Namespace) -> int:
    _make_room(arguments.sheet, ".png")
    _make_room(arguments.audio, ".wav")
    pipeline, options = _pipeline(arguments)

    from omni_timeline.export import drawings as views
    from omni_timeline.timebase import SAMPLE_RATE

    clips = list(pipeline.clips(arguments.video, options))
    if arguments.audio and clips[0].audio is None:
        raise MediaError(f"{arguments.video} has no sound to write to {arguments.audio}")
    for number, clip in enumerate(clips, 1):
        if arguments.audio:
            import soundfile

            # float: bit for bit what it hears
            soundfile.write(_numbered(arguments.audio, number, clips), clip.audio, SAMPLE_RATE, subtype="FLOAT")
        if arguments.sheet:
            views.contact_sheet(clip).save(_numbered(arguments.sheet, number, clips))
    report = pipeline.inspect(arguments.video, options)
    print(json.dumps(report) if arguments.json else views.inspection_table(report))
    for warning in dict.fromkeys(warning for clip in clips for warning in clip.warnings):
        print(f"omni-timeline: warning: {warning}", file=sys.stderr)
    return OK


def _numbered(file: Path, number: int, clips: Sequence[object]) -> Path:
    """The file of one window: sheet.png, or sheet-2.png where there are several."""
    return file if len(clips) == 1 else file.with_stem(f"{file.stem}-{number}")


def _serve(arguments: argparse.Namespace) -> int:
    from omni_timeline.service.server import serve
    from omni_timeline.service.settings import Settings

    settings = Settings.from_env()
    given = {name: getattr(arguments, name) for name in ("model", "hub", "device")}
    settings = replace(settings, **{name: value for name, value in given.items() if value is not None})
    serve(settings, arguments.host, arguments.port)
    return OK


def _pipeline(arguments: argparse.Namespace, config: LabelConfig | None = None) -> tuple[Pipeline, PredictOptions]:
    from omni_timeline.model.prompts import Prompt

    options = PredictOptions(
        frames=arguments.frames,
        window_seconds=arguments.window_seconds,
        labels=tuple(arguments.labels or ()),
        prompt=Prompt.from_file(arguments.prompt) if arguments.prompt else Prompt(),
        constrained=not arguments.unconstrained,
        refine=arguments.refine,
        score_threshold=arguments.score_threshold,
        max_pixels=arguments.max_pixels,
        remap=arguments.remap,
    )
    options = config.options(options) if config else options

    from omni_timeline.model.checkpoint import Checkpoint
    from omni_timeline.pipeline.pipeline import Pipeline

    checkpoint = Checkpoint.find(arguments.model or "demo", arguments.hub or "huggingface")
    return Pipeline(checkpoint.family.load(checkpoint, device=arguments.device)), options


def _label_config(arguments: argparse.Namespace) -> LabelConfig | None:
    if arguments.label_config is None:
        if arguments.format == "label-studio":
            raise RequestError("--format label-studio needs --label-config FILE, the labeling config of the project")
        return None
    from omni_timeline.label_studio.labeling_config import LabelConfig

    return LabelConfig.from_xml(_text_of(arguments.label_config))


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise RequestError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{file} is not UTF-8 text") from error


def _truth(video: Path) -> tuple[Segment, ...]:
    """What really happens in a video: the events in the JSON file of its name beside it."""
    from omni_timeline.segments import Segment

    file = video.with_suffix(".json")
    text = _text_of(file)
    try:
        events = json.loads(text)["events"]
        return tuple(sorted(Segment(float(e["start"]), float(e["end"]), str(e["label"])) for e in events))
    except (KeyError, TypeError, ValueError) as error:
        raise RequestError(
            f'{file} must hold {{"events": [{{"start": seconds, "end": seconds, "label": text}}]}}: {error!r}'
        ) from error


def _make_room(file: Path | None, suffix: str) -> None:
    """Makes sure, before the work begins, that a file can be written at its end."""
    if file is None:
        return
    if file.suffix.lower() != suffix:
        raise RequestError(f"{file} must end in {suffix}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"cannot write {file}: {error.strerror}") from error


def _with_progress(
    pipeline: Pipeline, options: PredictOptions, videos: Sequence[Path]
) -> Iterator[Prediction | Failure]:
    """The results as they come; the one that is waited for, and how far it is, on stderr if that is a terminal."""
    watched = sys.stderr.isatty()
    number, video = 0, Path()

    def show(progress: Progress | None = None) -> None:
        if watched:
            windows = f"{progress.stage} {progress.done}/{progress.total} " if progress and progress.total > 1 else ""
            print(f"\r\x1b[K[{number}/{len(videos)}] {video} {windows}...", end="", file=sys.stderr, flush=True)

    results = pipeline.predict_all(videos, options, show)
    for number, video in enumerate(videos, start=1):  # noqa: B007  # `show` names them
        show()
        result = next(results)
        if watched:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        yield result
