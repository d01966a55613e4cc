"""Pictures for people: the frames that the model sees, and timelines.

Knows Pillow and a handful of colours. Writes no files: the caller gets a picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from omni_timeline.export.tables import clock

if TYPE_CHECKING:
    from omni_timeline.media.clip import Clip
    from omni_timeline.pipeline.prediction import Prediction
    from omni_timeline.segments import Segment

PAPER, INK, FAINT, RULE = "#ffffff", "#1f2328", "#6b7280", "#e5e7eb"
PREDICTED_COLOUR = "#2f6db5"  # one colour for all: labels have rows of their own, and may be names of colours
TRUTH_COLOUR = "#c4c9d1"
FONTS = ("NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "PingFang.ttc", "msyh.ttc", "DejaVuSans.ttf")  # best first

SHEET_COLUMNS = 10
SHEET_TILE = 128  # px, at least this wide or high: the demo checkpoint sees 56 x 56
SHEET_TILE_LIMIT = 320  # px; larger frames are shown smaller

TIMELINE_WIDTH = 1600  # px
MARGIN = 32
ROW_HEIGHT, ROW_GAP = 34, 14
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)  # s between two marks of the time axis
TICK_DISTANCE = 80  # px between two marks, at least


def contact_sheet(clip: Clip, columns: int = SHEET_COLUMNS) -> Image.Image:
    """Every frame that the model sees, in order, each with its time in seconds of the video.

    Small frames are enlarged by a whole factor, so that the pixels stay what they are; frames larger than
    SHEET_TILE_LIMIT are shown smaller.
    """
    count, _, height, width = clip.frames.shape
    tile_width, tile_height = _tile_size(width, height)
    columns = min(columns, count)
    caption, gap, header = 20, 8, 44
    cell = (tile_width + gap, tile_height + caption + gap)
    size = (2 * MARGIN + columns * cell[0] - gap, header + MARGIN + math.ceil(count / columns) * cell[1])
    title = f"{clip.info.path.name}: {count} frames of {width} x {height} from {clock(clip.start)} to {clock(clip.end)}"
    sheet = Image.new("RGB", (max(size[0], 2 * MARGIN + math.ceil(_text_width(title, 15))), size[1]), PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (MARGIN, header / 2 + 4), title, INK, 15, "lm")
    for index, (frame, second) in enumerate(zip(clip.frames, clip.times.seconds, strict=True)):
        row, column = divmod(index, columns)
        left, top = MARGIN + column * cell[0], header + row * cell[1]
        tile = Image.fromarray(frame.transpose(1, 2, 0))
        enlarged = tile_width > width
        tile = tile.resize(
            (tile_width, tile_height), Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
        )
        sheet.paste(tile, (left, top))
        _write(draw, (left, top + tile_height + 3), f"{clock(second)} s", FAINT, 12)
    return sheet


def _tile_size(width: int, height: int) -> tuple[int, int]:
    longer = max(width, height)
    if longer > SHEET_TILE_LIMIT:
        scale = SHEET_TILE_LIMIT / longer
        return max(1, round(width * scale)), max(1, round(height * scale))
    factor = math.ceil(SHEET_TILE / longer)
    return width * factor, height * factor


def timeline(predictions: Sequence[Prediction], truths: Mapping[Path, Sequence[Segment]] | None = None) -> Image.Image:
    """The predicted segments of each video on its time axis, one row for each label, one panel for each video.

    Args:
        predictions: at least one.
        truths: what really happens in a video, by the path of its prediction; drawn above what was predicted.
    """
    truths = truths or {}
    panels = [_panel(prediction, truths.get(prediction.path)) for prediction in predictions]
    picture = Image.new("RGB", (TIMELINE_WIDTH, sum(panel.height for panel in panels)), PAPER)
    top = 0
    for panel in panels:
        picture.paste(panel, (0, top))
        top += panel.height
    return picture


def _panel(prediction: Prediction, truth: Sequence[Segment] | None) -> Image.Image:
    labels = sorted({segment.label for segment in (*prediction.segments, *(truth or ()))})
    rows = max(1, len(labels))
    top, axis = MARGIN + 44, 40
    gutter = max([90.0, *(_text_width(_shortened(label, 15, 320), 15) for label in labels)])
    left, right = MARGIN + math.ceil(gutter) + 20, TIMELINE_WIDTH - MARGIN
    bottom = top + rows * (ROW_HEIGHT + ROW_GAP)
    panel = Image.new("RGB", (TIMELINE_WIDTH, bottom + axis), PAPER)
    draw = ImageDraw.Draw(panel)

    def x(second: float) -> float:
        return left + (right - left) * second / prediction.duration

    _write(draw, (MARGIN, MARGIN), _shortened(prediction.path.name, 20, 900), INK, 20, "lm")
    _legend(draw, right, truth is not None, f"{clock(prediction.duration)} s   {prediction.model_version}")
    step = _tick_step(prediction.duration, right - left)
    for index in range(math.floor(prediction.duration / step + 1e-6) + 1):
        draw.line((x(index * step), top - 6, x(index * step), bottom + 4), RULE)
        _write(draw, (x(index * step), bottom + 8), _tick_text(index * step, step), FAINT, 13, "mt")
    draw.line((left, bottom, right, bottom), FAINT)
    if not labels:
        _write(draw, (left + 10, top + ROW_HEIGHT / 2), "no events", FAINT, 15, "lm")
    for row, label in enumerate(labels):
        y = top + row * (ROW_HEIGHT + ROW_GAP)
        _write(draw, (left - 14, y + ROW_HEIGHT / 2), _shortened(label, 15, 320), INK, 15, "rm")
        split = y + ROW_HEIGHT * 0.36 if truth is not None else y
        for segment in truth or ():
            if segment.label == label:
                _bar(draw, x(segment.start), x(segment.end), y, split - 2, TRUTH_COLOUR)
        for segment in prediction.segments:
            if segment.label == label:
                _bar(draw, x(segment.start), x(segment.end), split, y + ROW_HEIGHT, PREDICTED_COLOUR)
                _inscribe(draw, segment, x(segment.start), x(segment.end), (split + y + ROW_HEIGHT) / 2)
    return panel


def _bar(draw: ImageDraw.ImageDraw, left: float, right: float, top: float, bottom: float, colour: str) -> None:
    draw.rounded_rectangle((left, top, max(right, left + 2), bottom), radius=3, fill=colour)


def _inscribe(draw: ImageDraw.ImageDraw, segment: Segment, left: float, right: float, middle: float) -> None:
    """Writes the segment's times, and its text where there is room for it, onto its bar."""
    times = f"{clock(segment.start)} to {clock(segment.end)}"
    for words in ([f"{times}  {segment.text}"] if segment.text else []) + [times]:
        if _text_width(words, 13) <= right - left - 12:
            _write(draw, (left + 6, middle), words, PAPER, 13, "lm")
            return


def _legend(draw: ImageDraw.ImageDraw, right: float, with_truth: bool, words: str) -> None:
    """Draws what the two kinds of bar mean, and `words`, at the right of the title."""
    _write(draw, (right, MARGIN), words, FAINT, 13, "rm")
    if not with_truth:
        return
    right -= _text_width(words, 13) + 28
    for name, colour in (("predicted", PREDICTED_COLOUR), ("ground truth", TRUTH_COLOUR)):
        _write(draw, (right, MARGIN), name, FAINT, 13, "rm")
        right -= _text_width(name, 13) + 8
        _bar(draw, right - 22, right, MARGIN - 5, MARGIN + 5, colour)
        right -= 22 + 24


def _tick_step(duration: float, width: float) -> float:
    """Seconds between two marks of the axis: a round number that leaves TICK_DISTANCE between them."""
    for step in TICKS:
        if width * step / duration >= TICK_DISTANCE:
            return step
    return math.ceil(duration * TICK_DISTANCE / width / TICKS[-1]) * TICKS[-1]


def _tick_text(second: float, step: float) -> str:
    if step < 1:
        return f"{second:.1f}"
    return f"{second:.0f}" if second < 60 else clock(second).removesuffix(".00")


def _shortened(text: str, size: int, width: float) -> str:
    """`text`, with its end left off where it would be wider than `width` pixels."""
    if _text_width(text, size) <= width:
        return text
    while text and _text_width(f"{text}…", size) > width:
        text = text[:-1]
    return f"{text}…"


@cache
def _font(size: int, *, foreign: bool = False) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, which is everywhere and knows Latin letters; for `foreign` ones a system font, if any."""
    for name in FONTS if foreign else ():
        with suppress(OSError):
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)


def _font_for(text: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return _font(size, foreign=not text.replace("…", "").isascii())


def _text_width(text: str, size: int) -> float:
    return _font_for(text, size).getlength(text)


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, colour: str, size: int, anchor: str = "la"
) -> None:
    draw.text(place, text, colour, _font_for(text, size), anchor=anchor)
