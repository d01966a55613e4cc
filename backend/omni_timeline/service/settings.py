"""What the operator decides: the settings of the service, read from environment variables and checked once.

`Settings` is the table: one field, with its default, what it may be and a sentence for people, is all there is to a
setting. The environment variable of a field has its name in capitals. The tables of docs/operations.md and the lines of
.env.example are written from it by `python -m omni_timeline.service.settings_docs`.

Reads `os.environ`. Knows nothing of what is done with the settings.
"""

# ruff: noqa: RUF009  (`setting` makes a field)

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, cast

from omni_timeline.errors import RequestError
from omni_timeline.label_studio.project_settings import MAX_FRAMES
from omni_timeline.media.audio_track import AudioTrack
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.model.isolated import SILENCE_SECONDS
from omni_timeline.model.wire import QUANTIZATIONS
from omni_timeline.pipeline.options import (
    DEFAULT_FRAMES,
    DEFAULT_MAX_LOOKS,
    DEFAULT_MAX_NEW_TOKENS,
    DEFAULT_WINDOW_SECONDS,
    MIN_WINDOW_SECONDS,
    WindowSeconds,
)
from omni_timeline.pipeline.scheduler import MEMORY_BYTES
from omni_timeline.service import setting_kinds as kinds
from omni_timeline.service.setting_kinds import Kind

HUBS = ("huggingface", "modelscope")
DTYPES = ("bfloat16", "float16", "float32")
MIB, GIB, PIB = 1024**2, 1024**3, 1024**5
DAY = 86_400  # s

T = TypeVar("T")
Default = TypeVar("Default")


@dataclass(frozen=True)
class Row:
    """One setting.

    Attributes:
        name: the field's name.
        default: its value when the variable is missing or empty.
        kind: what it may be.
        about: one or more sentences for people, in Markdown.
        section: the heading that it begins; "" where it belongs to the one above.
        default_words: what stands for a default of None.
        secret: whether its value is kept out of messages, of the text of `Settings` and of other processes.
        also: another variable that is read when its own is missing or empty.
    """

    name: str
    default: Any
    kind: Kind[Any]
    about: str
    section: str
    default_words: str
    secret: bool
    also: str

    @property
    def variable(self) -> str:
        """The name of its environment variable."""
        return self.name.upper()

    def read(self, environ: Mapping[str, str]) -> Any:
        """Its value in `environ`, where a variable that is empty counts as missing.

        Raises:
            RequestError: the variable is not what it must be.
        """
        written = environ.get(self.variable, "").strip() or environ.get(self.also, "").strip()
        if not written:
            return self.default
        try:
            return self.kind.parse(written)
        except (ValueError, KeyError) as error:
            raise self._refusal(written) from error

    def check(self, value: Any) -> None:
        """Compare a value with what it must be.

        Raises:
            RequestError: it is something else.
        """
        if value != self.default and not self.kind.allows(value):
            raise self._refusal(str(value))

    def _refusal(self, written: str) -> RequestError:
        # Messages are logged, and an address may hold a password before its @.
        shown = "" if self.secret or "@" in written else f'="{written}"'
        return RequestError(f"{self.variable}{shown} is invalid: must be {self.kind.words}.")


def setting(
    default: Default,
    kind: Kind[T],
    about: str,
    *,
    section: str = "",
    default_words: str = "–",
    secret: bool = False,
    also: str = "",
) -> Default | T:
    """A field of `Settings`; see `Row` for the arguments."""
    column = {"kind": kind, "about": about, "section": section, "default_words": default_words, "secret": secret}
    return cast("Default | T", field(default=default, repr=not secret, metadata={**column, "also": also}))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one service.

    Raises:
        RequestError: a value is not what it must be; the message names the variable.
    """

    # fmt: off
    label_studio_url: str | None = setting(
        None, kinds.url,
        "The address at which the backend reaches Label Studio. Needed for uploads, for local files that are not "
        "mounted, for cloud storage, and to store predictions that take longer than a request.",
        section="Label Studio",
    )
    label_studio_api_key: str | None = setting(
        None, kinds.token,
        "A personal access token (*Account & Settings*) of a user who can see the projects. Legacy tokens work where "
        "the organization allows them; by default it does not. Sent to `LABEL_STUDIO_URL` and nowhere else.",
        secret=True,
    )
    label_studio_host: str | None = setting(
        None, kinds.url,
        "The address that people type into their browser for Label Studio, such as `https://label.example.org`, where "
        "it is another than `LABEL_STUDIO_URL`. Label Studio reads the same variable. Videos of tasks that name it are "
        "fetched from `LABEL_STUDIO_URL`.",
    )
    predict_deadline_seconds: float = setting(
        80.0, kinds.number(0.01, DAY),
        "The time after which `/predict` answers with the predictions that are ready; the rest is finished in the "
        "background and stored through Label Studio's API. Label Studio hangs up after 100 s.",
    )
    prelabel_new_tasks: bool = setting(
        False, kinds.switch,
        "`1`: new tasks are predicted as soon as Label Studio reports them to `/webhook`.",
    )

    basic_auth_user: str | None = setting(
        None, kinds.user_name,
        "The name that every request must carry, see [Who may ask](#who-may-ask). Set both this and "
        "`BASIC_AUTH_PASSWORD`, or neither.",
        section="Access",
    )
    basic_auth_password: str | None = setting(None, kinds.text, "The password to that name.", secret=True)
    webhook_secret: str | None = setting(
        None, kinds.header,
        "The secret that requests to `/webhook` must carry in place of name and password, in the header "
        "`X-Omni-Timeline-Secret`.",
        secret=True,
    )

    model: str = setting(
        "demo", kinds.text, "The checkpoint: `demo` for the bundled one, a folder, or a name on the hub.",
        section="The model",
    )
    hub: str = setting(HUBS[0], kinds.choice(*HUBS), "The hub on which names of checkpoints are looked up.")
    device: tuple[str, ...] | None = setting(
        None, kinds.devices,
        "Where the model runs: `cpu`, `cuda`, `cuda:1`. Several devices share the work, each with the model in a "
        "process of its own: `cuda:0,cuda:1`.",
        default_words="the GPU if there is one",
    )
    quantization: str | None = setting(
        None, kinds.choice(*QUANTIZATIONS),
        "Loads the weights in fewer bits, for GPUs of 8 to 16 GB, see [Smaller cards](#smaller-cards).",
    )
    dtype: str | None = setting(
        None, kinds.choice(*DTYPES), "The precision of the model's weights.", default_words="what suits the device"
    )
    model_silence_seconds: float = setting(
        SILENCE_SECONDS, kinds.number(5, DAY),
        "A process of the model that gives no sign of life for so long, in seconds, while it loads or works, is ended "
        "and replaced.",
    )
    decoders: int | None = setting(
        None, kinds.whole(1, 64), "How many videos are decoded at a time, each in a process of its own.",
        default_words="one for each core, at most 8",
    )
    clip_memory_bytes: int = setting(
        MEMORY_BYTES, kinds.byte_count(64 * MIB, PIB),
        "How much memory the decoded frames and sound may take that wait for the model.",
    )

    frames: int = setting(
        DEFAULT_FRAMES, kinds.whole(1, MAX_FRAMES),
        "How many frames the model sees of a video, or of each window of a longer one. A project may decide this for "
        "itself.",
        section="Predictions",
    )
    window_seconds: WindowSeconds = setting(
        DEFAULT_WINDOW_SECONDS, kinds.number_or_auto(MIN_WINDOW_SECONDS, DAY, none="whole"),
        "Longer videos are covered by overlapping windows of at most this length, in seconds. `auto`: 48 s, with sound "
        "25 s, and less where the model is unsure, see [windows](windows.md). `whole` shows the model the whole video "
        "at once. A project may decide this for itself.",
    )
    max_looks: float = setting(
        DEFAULT_MAX_LOOKS, kinds.number(1, 7),
        "With `WINDOW_SECONDS=auto`, a video is looked at in at most this many windows for each window that the first "
        "pass has. `1`: nothing is looked at again.",
    )
    refine: bool = setting(
        False, kinds.switch, "`1`: the model looks a second time, closely, at where events begin and end."
    )
    constrained: bool = setting(
        True, kinds.switch,
        "`1`: the model can only write lines of the right form, with the project's labels. `0`: it may write "
        "anything, and what is not an event is dropped.",
    )
    score_threshold: float = setting(
        0.0, kinds.number(0, 1),
        "Segments with a lower score are left out. A project may decide this for itself.",
    )
    prompt_file: Path | None = setting(
        None, kinds.file,
        "A UTF-8 text file with the prompt that replaces the built-in one. A project may decide this for itself.",
    )
    max_pixels: int | None = setting(
        None, kinds.whole(1, 1_000_000_000, none="0"),
        "The largest frame that the model is given, in pixels; larger ones are made smaller. `0`: what the checkpoint "
        "was saved with.",
        default_words="the checkpoint's",
    )
    audio_track: AudioTrack = setting(
        None, kinds.audio_track,
        "Which sound track of a video with several is heard: a number from 1, or `all` for all together. A video with "
        "fewer tracks is heard as browsers play it.",
        default_words="the one that browsers play",
    )
    max_new_tokens: int = setting(
        DEFAULT_MAX_NEW_TOKENS, kinds.whole(1, 32_768), "The length, in tokens, at which an answer is cut off."
    )

    learn_after: int = setting(
        10, kinds.whole(1, 1_000_000),
        "In projects with *Start model training on annotation submission*: after how many new or changed annotations "
        "the backend learns without being asked to.",
        section="Learning from corrections",
    )
    learn_every_seconds: float = setting(
        3600.0, kinds.number(0, 365 * DAY), "In those projects it learns at most once in so many seconds."
    )
    learning_device: str | None = setting(
        None, kinds.device,
        "Where an adapter is trained when a calibration does not suffice: `cpu`, `cuda:1`. Training loads the "
        "checkpoint once more, beside the one that serves. On a GPU it waits until there is room, for half of the time "
        "that LEARNING_MAX_SECONDS leaves.",
        default_words="nothing is trained",
    )
    learning_max_seconds: float = setting(
        4 * 3600.0, kinds.number(1, 365 * DAY),
        "Learning is ended when it takes longer. Half of it is for asking the model about corrected videos.",
    )
    learning_memory_bytes: int = setting(
        4 * GIB, kinds.byte_count(256 * MIB, PIB), "Learning is ended when its process takes more memory."
    )

    local_files_root: Path | None = setting(
        None, kinds.mounted_folder,
        "Label Studio's document root for local files, mounted here: `/data/local-files/?d=a.mp4` is then read in "
        "place, never from outside this folder. `LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT` is read when this is not set.",
        section="Where videos come from", also="LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT",
    )
    allowed_video_hosts: tuple[str, ...] = setting(
        (), kinds.hosts,
        "Other hosts that videos are fetched from, such as `minio:9000,*.s3.amazonaws.com`. Without a port, any port. "
        "A host named in full is trusted wherever its name leads, also inside your network, and reached through "
        "`HTTP_PROXY` where that is set; those of a wildcard must be at public addresses.",
    )
    allow_public_video_hosts: bool = setting(
        False, kinds.switch, "`1`: videos are also fetched from any public address."
    )

    max_video_bytes: int = setting(
        4 * GIB, kinds.byte_count(1, PIB), "A larger video is refused.", section="Limits of one video"
    )
    max_video_pixels: int = setting(
        DecodeLimits.pixels, kinds.whole(1, 1_000_000_000), "A video with larger frames is refused; 8K is allowed."
    )
    max_video_frames: int = setting(
        DecodeLimits.frames, kinds.whole(1, 1_000_000_000), "A video with more frames is refused."
    )
    max_video_seconds: float = setting(
        DecodeLimits.duration, kinds.number(0.01, 365 * DAY), "A longer video is refused."
    )
    max_video_streams: int = setting(
        DecodeLimits.streams, kinds.whole(1, 10_000), "A video with more tracks is refused."
    )
    decode_seconds: float = setting(
        DecodeLimits.seconds, kinds.number(0.01, DAY),
        "Opening a video, or decoding one window of it, is stopped after this time.",
    )
    decode_memory_bytes: int = setting(
        DecodeLimits.memory_bytes, kinds.byte_count(256 * MIB, PIB),  # libav needs room to start
        "Decoding is stopped when it takes more memory than this.",
    )
    videos_per_decoder: int = setting(
        DecodeLimits.videos, kinds.whole(1, 1000),
        "How many videos of one project a process decodes, one after the other, as long as nothing is wrong with any. "
        "`1`: each video has a process of its own, so that a file that takes over its decoder meets no other; short "
        "videos take longer then.",
    )

    cache_dir: Path = setting(
        Path("~/.cache/omni-timeline"), kinds.folder,
        "The folder for fetched videos, for predictions made before, for the journal of what Label Studio is still to "
        "get, and for what was learned. Put it on a disk that outlives the process.",
        section="What is kept on disk",
    )
    cache_bytes: int | None = setting(
        None, kinds.byte_count(0, PIB),
        "How much of the fetched videos is kept; those used longest ago are removed first.",
        default_words="a fifth of the disk that `CACHE_DIR` is on",
    )
    prediction_cache_bytes: int = setting(
        GIB, kinds.byte_count(0, PIB), "How much of the predictions is kept; `0` for none."
    )

    bind: str = setting(
        "127.0.0.1", kinds.text,
        "The address to listen on, `0.0.0.0` for all. Not called `HOST`, which some shells set to something else.",
        section="The server",
    )
    port: int = setting(9090, kinds.whole(1, 65_535), "The port to listen on.")
    log_level: str = setting("INFO", kinds.log_level, "The least severe messages that are logged.")

    # fmt: on
    def __post_init__(self) -> None:
        for row in rows():
            row.check(getattr(self, row.name))
        if (self.basic_auth_user is None) != (self.basic_auth_password is None):
            raise RequestError("BASIC_AUTH_USER and BASIC_AUTH_PASSWORD belong together: set both, or neither.")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """The settings in `environ`. A variable that is missing or empty has its default.

        Raises:
            RequestError: a variable is not what it must be.
        """
        return cls(**{row.name: row.read(environ) for row in rows()})


def rows() -> tuple[Row, ...]:
    """The settings in the order of the table."""
    return tuple(Row(each.name, each.default, **each.metadata) for each in fields(Settings))
