"""One self-contained web page to look at predictions: the videos, and their segments on a timeline.

Knows the template beside it, and how untrusted text is put into a page without becoming markup: the data are JSON that
no tag can end, the script sets them as text, and a content security policy lets nothing else run and nothing be fetched
but the videos. Writes no file and prints nothing: the caller gets a text.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from omni_timeline.errors import MediaError
from omni_timeline.export.links import link, mime_type
from omni_timeline.segments import Segment

if TYPE_CHECKING:
    from omni_timeline.pipeline.prediction import Prediction

TEMPLATES = Path(__file__).parent / "templates"
DEFAULT_FRAME_RATE = 25.0  # frames a second, for the steps of the arrow keys where the video's rate is unknown
LARGE = 100 * 2**20  # bytes of videos in a page, from which on browsers become slow with it


def page(
    predictions: Sequence[Prediction],
    *,
    folder: Path,
    truths: Mapping[Path, Sequence[Segment]] | None = None,
    frame_rates: Mapping[Path, float] | None = None,
    embed: bool = False,
) -> str:
    """The page as HTML, in UTF-8.

    Args:
        predictions: at least one; in their order in the page.
        folder: where the page will be: it names the videos by their place relative to it.
        truths: what really happens in a video, by the path of its prediction; shown above what was predicted.
        frame_rates: frames per second of a video, by path: how far the arrow keys go.
        embed: put the videos themselves into the page, so that it is one file.

    Raises:
        MediaError: a video to embed cannot be read.
    """
    truths, frame_rates = truths or {}, frame_rates or {}
    data = [
        {
            "name": prediction.path.name,
            "source": _embedded(prediction.path) if embed else link(prediction.path, folder),
            "duration": prediction.duration,
            "frameRate": frame_rates.get(prediction.path, DEFAULT_FRAME_RATE),
            "modelVersion": prediction.model_version,
            "answer": prediction.text,
            "lookedAgain": prediction.looked_again,
            "warnings": list(prediction.warnings),
            "segments": [_fields(segment) for segment in sorted(prediction.segments)],
            "truth": _true(truths.get(prediction.path)),
        }
        for prediction in predictions
    ]
    script, style = _template("timeline.js"), _template("timeline.css")
    return Template(_template("timeline.html")).substitute(
        title=html.escape(predictions[0].path.name.encode(errors="replace").decode()),
        policy=html.escape(_policy(script)),
        style=style,
        script=script,
        data=json.dumps(data).replace("<", "\\u003c"),  # so that no </script> or <!-- in a label ends the element
    )


def embedded_size(predictions: Sequence[Prediction]) -> int:
    """Bytes that the videos take up in a page that embeds them."""
    return sum(-(-prediction.path.stat().st_size // 3) * 4 for prediction in predictions)


def _policy(script: str) -> str:
    """Nothing may be loaded and nothing run but this very script; `file:` and `'self'` are for the videos."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "media-src 'self' file: data:; base-uri 'none'; form-action 'none'"
    )


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _embedded(video: Path) -> str:
    try:
        content = base64.b64encode(video.read_bytes()).decode()
    except OSError as error:
        raise MediaError(f"cannot embed {video}: {error.strerror}") from error
    return f"data:{mime_type(video)};base64,{content}"


def _true(segments: Sequence[Segment] | None) -> list[dict[str, Any]] | None:
    return None if segments is None else [_fields(segment) for segment in sorted(segments)]


def _fields(segment: Segment) -> dict[str, Any]:
    return {
        "start": segment.start,
        "end": segment.end,
        "label": segment.label,
        "text": segment.text,
        "score": segment.score,
        "looks": segment.looks,
    }
