"""The arguments that name a project with corrections, and their values: the corrections, and the model."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from omni_timeline.cli.arguments import options_from, positive, scheduler_for
from omni_timeline.errors import RequestError

if TYPE_CHECKING:
    from omni_timeline.learning.asking import Model
    from omni_timeline.learning.sources import Source
    from omni_timeline.pipeline.options import PredictOptions

VIDEOS_AT_A_TIME = 16  # predicted at a time

SOURCE_HELP = """\
the corrections:
  export.json --videos FOLDER --label-config FILE    a project's export in the format JSON, and its videos
  --project 7                                        a live project; LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY say
                                                     where Label Studio is, see docs/operations.md
"""


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the corrections are."""
    group = parser.add_argument_group("the corrections")
    group.add_argument("export", nargs="?", type=Path, metavar="EXPORT", help="a project's export in the format JSON")
    group.add_argument("--videos", type=Path, metavar="FOLDER", help="where the videos of the export are")
    group.add_argument("--label-config", type=Path, metavar="FILE", help="the labeling config of the export's project")
    group.add_argument("--project", type=positive, metavar="N", help="a live project, instead of an export")


def open_source(arguments: argparse.Namespace) -> Source:
    """The corrections that the source arguments name.

    Raises:
        RequestError: the arguments do not name a source, or a file cannot be read.
        DeliveryError: Label Studio does not give access to the project.
    """
    from omni_timeline.learning.sources import Source

    if arguments.project is not None:
        if arguments.export is not None:
            raise RequestError("EXPORT and --project name two sources: leave one out.")
        return _project(arguments.project)
    if arguments.export is None:
        raise RequestError("Name the corrections: EXPORT --videos FOLDER --label-config FILE, or --project N.")
    if arguments.videos is None or arguments.label_config is None:
        raise RequestError("An export needs --videos FOLDER and --label-config FILE, since it contains neither.")
    return Source.from_export(arguments.export, arguments.videos, arguments.label_config)


@contextmanager
def open_model(arguments: argparse.Namespace) -> Iterator[Model]:
    """The model that the model arguments name; predictions that it has made before come from the cache.

    Raises:
        OmniTimelineError: the checkpoint is missing or cannot be loaded.
    """
    from omni_timeline.learning.asking import Model
    from omni_timeline.pipeline.cache import PredictionCache
    from omni_timeline.service.settings import Settings

    settings = Settings.from_env()
    cache = PredictionCache(settings.cache_dir / "predictions", settings.prediction_cache_bytes)
    with scheduler_for(arguments) as scheduler:
        scheduler.wait()
        yield Model(str(scheduler.checkpoint_version), scheduler.predict, VIDEOS_AT_A_TIME).remembering(cache)


def options_for(arguments: argparse.Namespace, source: Source) -> PredictOptions:
    """The options of the project without a calibration.

    Raises:
        RequestError: the input arguments are invalid.
    """
    if arguments.labels:
        raise RequestError("The labels are those of the project's labeling config: leave out --labels.")
    return source.config.options(options_from(arguments))


def _project(number: int) -> Source:
    from omni_timeline.label_studio.client import LabelStudioApi
    from omni_timeline.label_studio.files import VideoFiles
    from omni_timeline.label_studio.hosts import AllowedHosts
    from omni_timeline.learning.sources import Source
    from omni_timeline.service.settings import Settings

    settings = Settings.from_env()
    url, key = settings.label_studio_url, settings.label_studio_api_key
    if url is None or key is None:
        raise RequestError("--project needs LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, as the server does.")
    files = VideoFiles(
        url,
        key,
        settings.cache_dir / "videos",
        settings.local_files_root,
        public_host=settings.label_studio_host,
        hosts=AllowedHosts(settings.allowed_video_hosts, public=settings.allow_public_video_hosts),
        max_bytes=settings.max_video_bytes,
        cache_bytes=settings.cache_bytes,
    )
    return Source.from_project(LabelStudioApi(url, key), number, files, url)
