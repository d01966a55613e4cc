"""What is said between the process that learns from a project and the server that started it.

    the server                        the process that learns
    Assignment    -------------------->
                  <-- Step ..., whenever it gets on
                  <-- Question ..., several at a time
    Reply         -------------------->
                  <-- Learned, or NotLearned, and its end

The process that learns has no model: it asks the server, whose model is loaded already. Both sides are this package's
own code, which is why pickled values are good enough.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from omni_timeline.model.wire import Load
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import Prediction, Progress

VIDEOS_AT_A_TIME = 8  # that the model is asked about


@dataclass(frozen=True)
class Assignment:
    """What to learn from, and where everything is.

    Attributes:
        project: its number in Label Studio.
        label_studio: the address of Label Studio.
        api_key: the token for it.
        public_host: the address under which tasks know Label Studio, where that is another.
        checkpoint: the version of the server's model.
        load: which model that is, and where an adapter for it is trained; None where nothing is trained.
        options: how the server asks it, before a project has its say.
        folder: for the versions of all projects, see `learning.versions`.
        videos: the folder for fetched videos.
        predictions: the folder of predictions that were made before.
        local_files_root: Label Studio's document root for local files, if it is mounted here.
        allowed_hosts: where else videos may be.
        allow_public_hosts: whether they may be at any public address.
        max_video_bytes: a larger video is refused.
        video_bytes: how many bytes of videos are kept; None: a fifth of the disk.
        prediction_bytes: how much of the predictions is kept.
        max_seconds: how long it may take.
        log_level: from which level on it logs.
    """

    project: int
    label_studio: str
    api_key: str = field(repr=False)
    public_host: str | None
    checkpoint: str
    load: Load | None
    options: PredictOptions
    folder: Path
    videos: Path
    predictions: Path
    local_files_root: Path | None
    allowed_hosts: tuple[str, ...]
    allow_public_hosts: bool
    max_video_bytes: int
    video_bytes: int | None
    prediction_bytes: int
    max_seconds: float
    log_level: int


@dataclass(frozen=True)
class Step:
    """How far it is."""

    progress: Progress


@dataclass(frozen=True)
class Question:
    """A video that the model is to be asked about; `number` tells the replies apart."""

    number: int
    path: Path
    options: PredictOptions


@dataclass(frozen=True)
class Reply:
    """The prediction, or why there is none."""

    number: int
    answer: Prediction | str


@dataclass(frozen=True)
class Learned:
    """The end: a version is written.

    Attributes:
        name: the version's name.
        is_offered: whether it is better than what was there before.
        reason: why, or why not, in a sentence or two.
        numbers: one line of them, for the status page.
    """

    name: str
    is_offered: bool
    reason: str
    numbers: str


@dataclass(frozen=True)
class NotLearned:
    """The end: nothing could be learned, and why; trying again may help where it `may_pass`."""

    sentence: str
    may_pass: bool


Message = Assignment | Step | Question | Reply | Learned | NotLearned
