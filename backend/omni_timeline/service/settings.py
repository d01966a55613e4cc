"""What the operator decides: the settings of the service, read from environment variables and checked once.

Reads `os.environ`. Knows the variables' names, their defaults and what each may be; knows nothing of
what is done with them. `docs/operations.md` has the same list for people.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from omni_timeline.errors import RequestError

HUBS = ("huggingface", "modelscope")
GIB = 1024**3

_HOST = re.compile(r"((\*\.)?[\w-]+(\.[\w-]+)*|\[[0-9A-Fa-f:.]+\])\.?(:\d{1,5})?")

Number = TypeVar("Number", int, float)


def default_cache_dir() -> Path:
    """Where fetched videos are kept when nobody says otherwise."""
    return Path.home() / ".cache" / "omni-timeline"


@dataclass(frozen=True)
class Settings:
    """The settings of one service; each field is the environment variable of the same name in capitals.

    Attributes:
        label_studio_url: where this machine reaches Label Studio, such as http://label-studio:8080. None: only videos
            that need no Label Studio can be fetched.
        label_studio_api_key: a personal access token of Label Studio, or a legacy token. Sent to label_studio_url
            and nowhere else.
        model: "demo", a folder or the name of a checkpoint on the hub.
        hub: where names are looked up, huggingface or modelscope.
        device: cpu, cuda, cuda:1 ...; None takes the GPU where there is one.
        dtype: bfloat16, float16 or float32; None takes what suits the device.
        frames: how many frames of a video the model sees.
        window_seconds: longer videos are covered by overlapping windows of at most this; None ("whole") looks at the
            whole video at once. A project may decide this, `frames`, the prompt and the threshold for itself.
        refine: whether the model looks again, closely, at where events begin and end.
        constrained: whether it can write nothing but lines of the right form, with the project's labels.
        score_threshold: segments that it is less sure of are left out; 0 to 1.
        prompt_file: a text file with the words for the model, in place of the built-in ones.
        max_pixels: the largest frame the model gets, in pixels; None for what the checkpoint was saved with.
        max_new_tokens: where the model's answer is cut off.
        local_files_root: Label Studio's document root for local files, mounted here; its files are read in place.
            LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT is read too, when LOCAL_FILES_ROOT is not set.
        cache_dir: where fetched videos, predictions and the journal of what is owed to Label Studio are kept.
        cache_bytes: how much of the videos is kept; the least recently used go first.
        prediction_cache_bytes: how much of the predictions is kept; 0 for none.
        max_video_bytes: a larger video is refused.
        allowed_video_hosts: other hosts that videos are fetched from, such as minio:9000 or *.example.org. One named
            in full is trusted wherever it leads; those of a wildcard must be at public addresses.
        allow_public_video_hosts: whether videos are fetched from any public address.
        max_video_pixels: a video with larger frames is refused.
        max_video_frames: so is one with more frames,
        max_video_seconds: a longer one,
        max_video_streams: and one with more tracks.
        decode_seconds: how long opening a video or decoding one clip of it may take.
        decode_memory_bytes: how much memory it may take.
        predict_deadline_seconds: when /predict answers with what it has; Label Studio hangs up after 100 s.
        basic_auth_user: whoever asks has to give this name,
        basic_auth_password: and this password; both or neither.
        webhook_secret: what /webhook wants in the header X-Omni-Timeline-Secret. Without one it wants basic auth, where
            that is set.
        prelabel_new_tasks: whether new tasks are predicted as soon as Label Studio tells of them.
        bind: the address the server listens on; 0.0.0.0 for all.
        port: the port it listens on.
        log_level: DEBUG, INFO, WARNING or ERROR.

    Raises:
        RequestError: a value that cannot be; it names the variable.
    """

    label_studio_url: str | None = None
    label_studio_api_key: str | None = field(default=None, repr=False)
    model: str = "demo"
    hub: str = "huggingface"
    device: str | None = None
    dtype: str | None = None
    frames: int = 50
    window_seconds: float | None = 48.0
    refine: bool = False
    constrained: bool = True
    score_threshold: float = 0.0
    prompt_file: Path | None = None
    max_pixels: int | None = None
    max_new_tokens: int = 512
    local_files_root: Path | None = None
    cache_dir: Path = field(default_factory=default_cache_dir)
    cache_bytes: int = 20 * GIB
    prediction_cache_bytes: int = GIB
    max_video_bytes: int = 4 * GIB
    allowed_video_hosts: tuple[str, ...] = ()
    allow_public_video_hosts: bool = False
    max_video_pixels: int = 36_000_000
    max_video_frames: int = 2_000_000
    max_video_seconds: float = 12 * 3600.0
    max_video_streams: int = 64
    decode_seconds: float = 120.0
    decode_memory_bytes: int = 4 * GIB
    predict_deadline_seconds: float = 80.0
    basic_auth_user: str | None = None
    basic_auth_password: str | None = field(default=None, repr=False)
    webhook_secret: str | None = field(default=None, repr=False)
    prelabel_new_tasks: bool = False
    bind: str = "127.0.0.1"
    port: int = 9090
    log_level: str = "INFO"

    def __post_init__(self) -> None:
        if self.label_studio_url is not None:
            _check_url("LABEL_STUDIO_URL", self.label_studio_url)
        key = self.label_studio_api_key
        # The value stays out of the message: messages are logged.
        if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
            raise RequestError("LABEL_STUDIO_API_KEY must be a token as Label Studio shows it: no spaces, one line.")
        if self.hub not in HUBS:
            raise RequestError(f"HUB must be one of {', '.join(HUBS)}; got {self.hub!r}.")
        if self.local_files_root is not None:
            _check_root("LOCAL_FILES_ROOT", self.local_files_root)
        _check_at_least("FRAMES", self.frames, 1)
        if self.window_seconds is not None and not 2 <= self.window_seconds < float("inf"):
            raise RequestError(f"WINDOW_SECONDS must be at least 2, or whole; got {self.window_seconds:g}.")
        if not 0 <= self.score_threshold <= 1:
            raise RequestError(f"SCORE_THRESHOLD must be from 0 to 1; got {self.score_threshold:g}.")
        _check_at_least("PREDICTION_CACHE_BYTES", self.prediction_cache_bytes, 0)
        if (self.basic_auth_user is None) != (self.basic_auth_password is None):
            raise RequestError("BASIC_AUTH_USER and BASIC_AUTH_PASSWORD belong together: set both, or neither.")
        if self.basic_auth_user is not None and ":" in self.basic_auth_user:
            raise RequestError("BASIC_AUTH_USER must not have a colon in it; no browser could send it.")
        if self.webhook_secret is not None and not self.webhook_secret.isascii():
            raise RequestError("WEBHOOK_SECRET must be plain ASCII: it travels in a header.")
        _check_at_least("MAX_PIXELS", self.max_pixels, 1)
        _check_at_least("MAX_NEW_TOKENS", self.max_new_tokens, 1)
        _check_at_least("CACHE_BYTES", self.cache_bytes, 0)
        _check_at_least("MAX_VIDEO_BYTES", self.max_video_bytes, 1)
        for entry in self.allowed_video_hosts:
            if not _HOST.fullmatch(entry):
                raise RequestError(
                    "ALLOWED_VIDEO_HOSTS must list hosts such as minio:9000, cdn.example.org or *.example.org, with "
                    f"commas between; got {entry!r}. For all public hosts set ALLOW_PUBLIC_VIDEO_HOSTS=1."
                )
        _check_at_least("MAX_VIDEO_PIXELS", self.max_video_pixels, 1)
        _check_at_least("MAX_VIDEO_FRAMES", self.max_video_frames, 1)
        _check_at_least("MAX_VIDEO_STREAMS", self.max_video_streams, 1)
        _check_at_least("DECODE_MEMORY_BYTES", self.decode_memory_bytes, 256 * 1024**2)  # libav needs room to start
        for name, seconds in (("MAX_VIDEO_SECONDS", self.max_video_seconds), ("DECODE_SECONDS", self.decode_seconds)):
            if not 0 < seconds < float("inf"):
                raise RequestError(f"{name} must be above 0; got {seconds}.")
        if not 0 < self.predict_deadline_seconds < float("inf"):
            raise RequestError(f"PREDICT_DEADLINE_SECONDS must be above 0; got {self.predict_deadline_seconds}.")
        if not 1 <= self.port <= 65535:
            raise RequestError(f"PORT must be from 1 to 65535; got {self.port}.")
        if self.log_level not in logging.getLevelNamesMapping():
            raise RequestError(f"LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR; got {self.log_level!r}.")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """The settings in `environ`. A variable that is missing or empty has its default."""
        given = {name: value.strip() for name, value in environ.items() if value.strip()}
        root = given.get("LOCAL_FILES_ROOT", given.get("LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"))
        url = given.get("LABEL_STUDIO_URL")
        return cls(
            label_studio_url=url.rstrip("/") if url else None,
            label_studio_api_key=given.get("LABEL_STUDIO_API_KEY"),
            model=given.get("MODEL", cls.model),
            hub=given.get("HUB", cls.hub),
            device=given.get("DEVICE"),
            dtype=given.get("DTYPE"),
            frames=_number(given, "FRAMES", int, cls.frames),
            window_seconds=None
            if given.get("WINDOW_SECONDS", "").lower() == "whole"
            else _number(given, "WINDOW_SECONDS", float, 48.0),
            refine=_switch(given, "REFINE"),
            constrained=_switch(given, "CONSTRAINED", default="1"),
            score_threshold=_number(given, "SCORE_THRESHOLD", float, cls.score_threshold),
            prompt_file=Path(given["PROMPT_FILE"]) if "PROMPT_FILE" in given else None,
            max_pixels=_number(given, "MAX_PIXELS", int, 0) or None,
            max_new_tokens=_number(given, "MAX_NEW_TOKENS", int, cls.max_new_tokens),
            local_files_root=Path(root) if root else None,
            cache_dir=Path(given["CACHE_DIR"]) if "CACHE_DIR" in given else default_cache_dir(),
            cache_bytes=_number(given, "CACHE_BYTES", int, cls.cache_bytes),
            prediction_cache_bytes=_number(given, "PREDICTION_CACHE_BYTES", int, cls.prediction_cache_bytes),
            max_video_bytes=_number(given, "MAX_VIDEO_BYTES", int, cls.max_video_bytes),
            allowed_video_hosts=tuple(
                entry.strip() for entry in given.get("ALLOWED_VIDEO_HOSTS", "").split(",") if entry.strip()
            ),
            allow_public_video_hosts=_switch(given, "ALLOW_PUBLIC_VIDEO_HOSTS"),
            max_video_pixels=_number(given, "MAX_VIDEO_PIXELS", int, cls.max_video_pixels),
            max_video_frames=_number(given, "MAX_VIDEO_FRAMES", int, cls.max_video_frames),
            max_video_seconds=_number(given, "MAX_VIDEO_SECONDS", float, cls.max_video_seconds),
            max_video_streams=_number(given, "MAX_VIDEO_STREAMS", int, cls.max_video_streams),
            decode_seconds=_number(given, "DECODE_SECONDS", float, cls.decode_seconds),
            decode_memory_bytes=_number(given, "DECODE_MEMORY_BYTES", int, cls.decode_memory_bytes),
            predict_deadline_seconds=_number(given, "PREDICT_DEADLINE_SECONDS", float, cls.predict_deadline_seconds),
            basic_auth_user=given.get("BASIC_AUTH_USER"),
            basic_auth_password=given.get("BASIC_AUTH_PASSWORD"),
            webhook_secret=given.get("WEBHOOK_SECRET"),
            prelabel_new_tasks=_switch(given, "PRELABEL_NEW_TASKS"),
            bind=given.get("BIND", cls.bind),
            port=_number(given, "PORT", int, cls.port),
            log_level=given.get("LOG_LEVEL", cls.log_level).upper(),
        )


def _number(given: Mapping[str, str], name: str, kind: type[Number], default: Number) -> Number:
    """The number in the variable `name`, or its default."""
    if name not in given:
        return default
    try:
        return kind(given[name])
    except ValueError as error:
        wanted = "a whole number" if kind is int else "a number"
        raise RequestError(f"{name} must be {wanted}; got {given[name]!r}.") from error


def _switch(given: Mapping[str, str], name: str, default: str = "0") -> bool:
    value = given.get(name, default).lower()
    if value not in ("0", "1", "false", "true", "no", "yes", "off", "on"):
        raise RequestError(f"{name} must be 1 or 0; got {given[name]!r}.")
    return value in ("1", "true", "yes", "on")


def _check_at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise RequestError(f"{name} must be at least {least}; got {value}.")


def _check_url(name: str, value: str) -> None:
    # Not shown whole in the message: it may hold a password.
    try:
        parts = urlsplit(value)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
        fine = fine and not parts.query and not parts.fragment and (parts.port is None or parts.port > 0)
    except ValueError:
        fine = False
    if not fine:
        raise RequestError(f"{name} must be an address such as http://label-studio:8080, without user or query.")


def _check_root(name: str, value: Path) -> None:
    if not value.is_absolute() or not value.is_dir():
        raise RequestError(f"{name} must be the full path of a folder that is mounted here; got {str(value)!r}.")
    if value.resolve() == Path("/"):
        raise RequestError(f"{name} must not be /: it would hand out every file of this machine.")
