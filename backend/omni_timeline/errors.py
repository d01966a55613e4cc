"""The errors this package raises on purpose, each with the HTTP status it becomes.

A message names the value that was wrong and what the person who can fix it should change. Nothing here knows about
HTTP beyond the number: the server reads `status`, the command line prints the message.
"""

from __future__ import annotations

from typing import Literal
from unicodedata import category

DeliveryKind = Literal["unreachable", "unclear", "token", "busy", "refused", "gone"]


class OmniTimelineError(Exception):
    """Base of every error raised on purpose. `str(error)` is one sentence fit to be shown to a person."""

    status = 500


class MediaError(OmniTimelineError):
    """A file cannot be used as a video: missing, not a video, nothing in it decodes."""

    status = 422


class FetchError(OmniTimelineError):
    """A task's video could not be brought to this machine."""

    status = 502


class UnreachableError(FetchError):
    """A task's video could not be brought here now; it may go better later."""


class TokenError(UnreachableError):
    """Label Studio refuses the token; a new one, or more rights for its user, mend that."""


class RetryableError(OmniTimelineError):
    """A task cannot be predicted now and is tried again later."""

    status = 503


class DeliveryError(OmniTimelineError):
    """Label Studio did not take something, or did not say.

    Attributes:
        kind: "unreachable", "token" and "busy" pass, or somebody mends them; after "unclear" it may or may not have
            taken it; "refused" is final for this prediction, and so is "gone", the task being deleted.
        retry_after: s that Label Studio asks to be left alone.
    """

    status = 502

    def __init__(self, kind: DeliveryKind, sentence: str, retry_after: float = 0.0) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.retry_after = retry_after


class BusyError(OmniTimelineError):
    """Too much is asked at a time."""

    status = 503


class BusyHostError(RetryableError):
    """As many videos are fetched from a host as may be; this one waits for its turn.

    Attributes:
        host: the host's name.
    """

    def __init__(self, host: str) -> None:
        super().__init__(f"Other videos are being fetched from {host}.")
        self.host = host


class LabelConfigError(OmniTimelineError):
    """A labeling configuration has no place for a segment."""

    status = 400


class RequestError(OmniTimelineError):
    """A request, a setting or a command-line argument cannot be understood."""

    status = 400


class SlowRequestError(OmniTimelineError):
    """A client stopped in the middle of its request."""

    status = 408


class ModelError(OmniTimelineError):
    """A checkpoint cannot be loaded, or the model cannot run on what it was given."""

    status = 503


class DownloadError(ModelError):
    """A checkpoint could not be fetched now; it may be, later."""


class ModelLostError(ModelError):
    """A model's process ended, or gave no sign of life, before it had answered."""


class OutOfMemoryError(ModelError):
    """The model cannot run on so much at once in the memory there is."""


def first_line(error: Exception) -> str:
    """The first line of an error's message, as a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(" .") + "."


def printable(text: str) -> str:
    """The text on one line: line breaks, control characters and halves of characters are escaped, spaces are plain."""
    return "".join(
        char if char.isprintable() else " " if category(char) == "Zs" else char.encode("unicode_escape").decode()
        for char in text
    )
