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


class DecoderLostError(MediaError):
    """Two processes that decoded a video were killed, perhaps for no fault of the video; a later one may succeed."""


class FetchError(OmniTimelineError):
    """A task's video cannot be fetched."""

    status = 502


class UnreachableError(FetchError):
    """A task's video cannot be fetched now; a later attempt may succeed."""


class TokenError(UnreachableError):
    """Label Studio refuses the token; a new one, or more rights for its user, mend that."""


class RetryableError(OmniTimelineError):
    """A task cannot be predicted now and is tried again later."""

    status = 503


class DeliveryError(OmniTimelineError):
    """A request to Label Studio failed, or its outcome is unknown.

    Attributes:
        kind: "unreachable", "busy" and "token" are temporary, the last until an operator gives a new token; "unclear":
            the request may have been carried out; "refused" is final for this prediction; "gone": the task was deleted.
        retry_after: seconds that Label Studio asks to wait; 0 where it asks for none.
    """

    status = 502

    def __init__(self, kind: DeliveryKind, sentence: str, retry_after: float = 0.0) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.retry_after = retry_after


class BusyError(OmniTimelineError):
    """The queue for such requests is full."""

    status = 503


class BusyHostError(RetryableError):
    """All fetches that a host may have at a time are in use; the task waits for one.

    Attributes:
        host: the host's name.
    """

    def __init__(self, host: str) -> None:
        super().__init__(f"Other videos are being fetched from {host}.")
        self.host = host


class LabelConfigError(OmniTimelineError):
    """A labeling configuration is invalid, or has no place for a segment."""

    status = 400


class RequestError(OmniTimelineError):
    """A request, a setting or a command-line argument is invalid."""

    status = 400


class SlowRequestError(OmniTimelineError):
    """A client stopped in the middle of its request."""

    status = 408


class ModelError(OmniTimelineError):
    """A checkpoint cannot be loaded, or the model cannot run on what it was given."""

    status = 503


class DownloadError(ModelError):
    """A checkpoint cannot be downloaded now; a later attempt may succeed."""


class ModelLostError(ModelError):
    """A model's process ended, or gave no sign of life, before it answered."""


class OutOfMemoryError(ModelError):
    """The device has too little memory for this batch."""


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
