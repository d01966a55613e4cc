"""`omni-timeline predict`: prints the events of videos, in any of the formats, and draws them."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omni_timeline.cli.arguments import (
    add_command,
    add_input_arguments,
    add_model_arguments,
    options_from,
    scheduler_for,
)
from omni_timeline.cli.files import prepare, write_text
from omni_timeline.cli.output import STDOUT, open_output
from omni_timeline.cli.terminal import predict_with_progress, print_error, print_warning
from omni_timeline.errors import RequestError
from omni_timeline.export.formats import FORMATS, WriterOptions
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import Failure, Prediction
from omni_timeline.text_files import read_text

if TYPE_CHECKING:
    from omni_timeline.label_studio.labeling_config import LabelConfig
    from omni_timeline.learning.version import LearnedVersion
    from omni_timeline.segments import Segment

OK, SOME_FAILED = 0, 1  # exit codes
DEFAULT_FORMAT = "table"
LOCAL_FILES_URL = "/data/local-files/?d="  # how Label Studio names a file of its local storage

DESCRIPTION = """\
Prints the events of each video with their start and end in seconds.

examples:
  omni-timeline predict clip.mp4
  omni-timeline predict clip.mp4 --model Qwen/Qwen2.5-Omni-3B --device cuda:1
  omni-timeline predict clip.mp4 --labels "speech,applause,music"
  omni-timeline predict lecture.mp4 --window-seconds 12 --refine
  omni-timeline predict lecture.mp4 --learned versions/first
  omni-timeline predict *.mp4 --view page.html --timeline timeline.png
  omni-timeline predict *.mp4 --format jsonl | jq -c '.segments[] | [.start, .end, .label]'
  omni-timeline predict *.mp4 --format csv --output events.csv
  omni-timeline predict *.mp4 --format eaf --output elan/
  omni-timeline predict *.mp4 --format label-studio --label-config label_config.xml --output import.json

exit codes: 0 all videos predicted, 1 some failed (the others are printed), 2 the command line is invalid
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the others."""
    parser = add_command(commands, "predict", "print the events of videos", DESCRIPTION, run)
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO")
    add_model_arguments(parser)
    add_input_arguments(parser)
    parser.add_argument(
        "--label-config", type=Path, metavar="FILE",
        help="a Label Studio labeling config; its labels and its model_* attributes replace the options above",
    )  # fmt: skip
    parser.add_argument(
        "--learned", type=Path, metavar="DIR",
        help="a version made by `omni-timeline learn`; its options replace those above",
    )  # fmt: skip
    parser.add_argument(
        "--truth", action="store_true",
        help='compare with the true events, read from clip.json beside clip.mp4: {"events": [{"start": 3.2, '
        '"end": 7.8, "label": "red square"}]}',
    )  # fmt: skip
    _add_output_arguments(parser)


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what comes out")
    summaries = "; ".join(f"{name}: {writer.summary}" for name, writer in FORMATS.items())
    group.add_argument(
        "--format", choices=tuple(FORMATS), default=DEFAULT_FORMAT, help=f"{summaries} (default: %(default)s)"
    )
    group.add_argument("--json", action="store_const", const="jsonl", dest="format", help="short for --format jsonl")
    alone = ", ".join(name for name, writer in FORMATS.items() if writer.is_file_per_video)
    group.add_argument(
        "--output", default=STDOUT, metavar="FILE",
        help="the file to write (default: -, standard output); a folder for several videos in a format with a file "
        f"for each ({alone})",
    )  # fmt: skip
    group.add_argument(
        "--video-url", default=LOCAL_FILES_URL, metavar="PREFIX",
        help="in Label Studio's tasks, the prefix of a video's address; behind it comes the path below the folder that "
        "all videos are in (default: %(default)s)",
    )  # fmt: skip
    group.add_argument("--view", type=Path, metavar="HTML", help="write a page with the videos and their timelines")
    group.add_argument("--embed", action="store_true", help="put the videos into this page instead of linking to them")
    group.add_argument("--timeline", type=Path, metavar="PNG", help="draw the timelines of all videos")


def run(arguments: argparse.Namespace) -> int:
    """Predicts all videos and writes the output.

    Raises:
        OmniTimelineError: the command line or a file that it names is invalid, or the model cannot be loaded.
        OSError: a file cannot be written.
    """
    config = _label_config(arguments.label_config)
    learned = _learned(arguments)
    options = learned.options if learned else options_from(arguments)
    options = config.options(options) if config else options
    truths = {video: _truth(video) for video in arguments.videos} if arguments.truth else {}
    if arguments.embed and not arguments.view:
        raise RequestError("--embed needs --view FILE, the page that the videos are put into")
    prepare(arguments.timeline, ".png")
    prepare(arguments.view, ".html")
    writer_options = WriterOptions(
        truths=truths,
        label_config=config,
        video_url=arguments.video_url,
        common_folder=_common_folder(arguments.videos),
    )
    predictions: list[Prediction] = []
    writer = FORMATS[arguments.format]
    with (
        open_output(arguments.output, arguments.videos, writer, writer_options) as write,
        scheduler_for(arguments) as scheduler,
    ):
        if learned:
            scheduler.wait()
            learned.check_base(str(scheduler.checkpoint_version))
        results = predict_with_progress(scheduler, options, arguments.videos)
        if not writer.has_warnings:
            results = _warned(results)
        write(_collected(results, config, predictions))
    if arguments.timeline and predictions:
        from omni_timeline.export.drawings import timeline

        timeline(predictions, truths).save(arguments.timeline)
    if arguments.view and predictions:
        _write_page(arguments.view, predictions, truths, embed=arguments.embed)
    return OK if len(predictions) == len(arguments.videos) else SOME_FAILED


def _common_folder(videos: Sequence[Path]) -> Path:
    """The innermost folder that all videos are in; missing files count only where all are missing."""
    videos = [video for video in videos if video.exists()] or videos
    # Not `resolve`: a link to a video is in the folder where it was named.
    return Path(os.path.commonpath([os.path.abspath(video.parent) for video in videos]))  # noqa: PTH100


def _collected(
    results: Iterable[Prediction | Failure], config: LabelConfig | None, predictions: list[Prediction]
) -> Iterator[Prediction | Failure]:
    """The results with the config's labels. Each prediction is also appended to `predictions`, each failure printed."""
    for result in results:
        if isinstance(result, Failure):
            reason = str(result.error)
            print_error(reason if result.path.name in reason else f"{result.path}: {reason}")
            yield result
        else:
            if config:
                result = replace(result, segments=tuple(map(config.labeled, result.segments)))
            predictions.append(result)
            yield result


def _warned(results: Iterable[Prediction | Failure]) -> Iterator[Prediction | Failure]:
    """The results; the warnings of each prediction are printed."""
    for result in results:
        if isinstance(result, Prediction):
            for warning in result.warnings:
                print_warning(warning)
        yield result


def _write_page(
    file: Path, predictions: Sequence[Prediction], truths: Mapping[Path, Sequence[Segment]], *, embed: bool
) -> None:
    from omni_timeline.export import page
    from omni_timeline.media.video import probe

    size = page.embedded_size(predictions) if embed else 0
    if size > page.LARGE:
        print_warning(
            f"{file} has {size / 2**20:.0f} MiB of videos in it, which browsers are slow to open; without --embed it "
            "links to them"
        )
    rates = {prediction.path: probe(prediction.path).fps for prediction in predictions}
    write_text(file, page.page(predictions, folder=file.parent, truths=truths, frame_rates=rates, embed=embed))


def _label_config(file: Path | None) -> LabelConfig | None:
    if file is None:
        return None
    from omni_timeline.label_studio.labeling_config import LabelConfig

    return LabelConfig.from_xml(read_text(file))


def _learned(arguments: argparse.Namespace) -> LearnedVersion | None:
    """The version of `--learned`, which decides all input options.

    Raises:
        RequestError: there is none, it is not offered, or another option contradicts it.
    """
    if arguments.learned is None:
        return None
    from omni_timeline.learning.version import LearnedVersion

    if options_from(arguments) != PredictOptions():
        raise RequestError(
            "--learned has its own options: leave out --frames, --labels and the other options of the model's input"
        )
    version = LearnedVersion.load(arguments.learned)
    if not version.is_offered:
        raise RequestError(f"the version in {arguments.learned} is not offered: {version.reason}")
    return version


def _truth(video: Path) -> tuple[Segment, ...]:
    """The true segments of a video, from the JSON file of its name beside it."""
    from omni_timeline.segments import Segment

    file = video.with_suffix(".json")
    text = read_text(file)
    try:
        events = json.loads(text)["events"]
        return tuple(sorted(Segment(float(e["start"]), float(e["end"]), str(e["label"])) for e in events))
    except (KeyError, TypeError, ValueError) as error:
        raise RequestError(
            f'{file} must hold {{"events": [{{"start": seconds, "end": seconds, "label": text}}]}}: {error!r}'
        ) from error
