"""The pictures of a report, drawn as SVG: no script, no font and no picture from elsewhere, and sharp on paper.

Every function returns an <svg> element as text. Knows numbers and colours, and nothing of what they mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

INK, FAINT, RULE = "#1f2328", "#68707c", "#d8dde4"
BLUE, GREY, ORANGE, GREEN, RED = "#2f6db5", "#97a1ae", "#d97a1e", "#3c8d5a", "#c0453f"
WIDTH = 640  # px of a whole-width picture
MAX_MARGIN = 240.0  # px to the left of it
SQUARE, LEFT, TOP = 220.0, 58.0, 10.0  # px of a square picture, and of what is beside and above it
LEGEND = 120.0  # px to the right of it
CHARACTER = 7.2  # px of a letter at the size of a label, on average


@dataclass(frozen=True)
class Dot:
    """A number with its interval, in a row of its own."""

    label: str
    value: float
    low: float | None
    high: float | None
    color: str = BLUE
    note: str = ""


@dataclass(frozen=True)
class Share:
    """One part of a bar."""

    name: str
    count: int
    color: str


@dataclass(frozen=True)
class Line:
    """Points joined by a line; dashed lines are told apart on paper too."""

    name: str
    points: Sequence[tuple[float, float]]
    color: str
    dash: str = ""


def dots(rows: Sequence[Dot], *, low: float = 0.0, high: float = 1.0, unit: str = "", zero: bool = False) -> str:
    """Numbers on one scale, one below the other, each with the line of its interval.

    Args:
        rows: from top to bottom.
        low: the scale's left end.
        high: its right end.
        unit: written after the numbers of the scale.
        zero: mark zero, for numbers that may be on either side of it.
    """
    left = _margin([row.label for row in rows])
    right, step = WIDTH - 130, 24
    height = step * len(rows) + 30

    def at(value: float) -> float:
        return left + (min(max(value, low), high) - low) / (high - low) * (right - left)

    parts = []
    for tick in _ticks(low, high):
        color = FAINT if zero and tick == 0 else RULE
        parts.append(_line(at(tick), 4, at(tick), height - 24, color))
        parts.append(_text(at(tick), height - 8, f"{tick:g}{unit}", "middle", FAINT))
    for number, row in enumerate(rows):
        y = 16 + step * number
        parts.append(_text(left - 10, y + 4, row.label, "end"))
        if row.low is not None and row.high is not None:
            parts.append(_line(at(row.low), y, at(row.high), y, row.color, 2))
        parts.append(f'<circle cx="{at(row.value):.1f}" cy="{y}" r="4.5" fill="{row.color}"/>')
        parts.append(_text(right + 14, y + 4, row.note, "start", FAINT))
    return _svg(WIDTH, height, parts, "; ".join(f"{row.label} {row.value:.2f}" for row in rows))


def bars(rows: Sequence[tuple[str, Sequence[Share]]]) -> str:
    """Bars of shares that add up to a whole, one below the other, with the counts in them and a legend below."""
    left = _margin([label for label, _ in rows])
    step, height = 34, 34 * len(rows) + 30
    parts = []
    for number, (label, shares) in enumerate(rows):
        y, x = 6 + step * number, left
        whole = sum(share.count for share in shares)
        parts.append(_text(left - 10, y + 16, label, "end"))
        for share in shares:
            width = (WIDTH - left - 8) * share.count / whole if whole else 0.0
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="24" fill="{share.color}"/>')
            if width > 12 + CHARACTER * len(str(share.count)):
                parts.append(_text(x + width / 2, y + 16, str(share.count), "middle", "#ffffff"))
            x += width
    x = left
    for share in rows[0][1] if rows else ():
        parts.append(f'<rect x="{x:.1f}" y="{height - 20}" width="10" height="10" fill="{share.color}"/>')
        parts.append(_text(x + 15, height - 11, share.name, "start", FAINT))
        x += 34 + CHARACTER * len(share.name)
    told = "; ".join(f"{label}: " + ", ".join(f"{s.count} {s.name}" for s in shares) for label, shares in rows)
    return _svg(WIDTH, height, parts, told)


def chart(
    lines: Sequence[Line],
    *,
    across: str,
    up: str,
    x_ticks: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    diagonal: bool = False,
    marked: float | None = None,
    bands: Iterable[tuple[float, float, float]] = (),
    sizes: Iterable[tuple[float, float, int]] = (),
) -> str:
    """Lines over a square from 0 to 1 upwards, with a legend beside it.

    Args:
        lines: what is drawn.
        across: what the horizontal axis means.
        up: what the vertical axis means.
        x_ticks: the numbers along the horizontal axis, from its left end to its right one.
        diagonal: draw the line on which both are equal.
        marked: a place on the horizontal axis with a line upwards.
        bands: x, lowest and highest y of vertical lines behind the points.
        sizes: x, y and how many a point stands for: a circle of that area.
    """
    square = _Square(x_ticks[0], x_ticks[-1])
    parts = square.axes(across, up, x_ticks)
    if diagonal:
        parts.append(square.line((square.low, 0.0), (square.high, 1.0), FAINT, 1, "3 3"))
    if marked is not None:
        parts.append(square.line((marked, 0.0), (marked, 1.0), FAINT, 1, "2 3"))
    parts += [square.line((x, least), (x, most), GREY, 2) for x, least, most in bands]
    for number, line in enumerate(lines):
        parts += [square.path(line), *square.legend(line, number)]
    parts += square.circles(list(sizes))
    return _svg(LEFT + SQUARE + (LEGEND if lines else 40), SQUARE + 54, parts, f"{up} over {across}")


@dataclass(frozen=True)
class _Square:
    """A square whose height stands for 0 to 1, and its width for `low` to `high`."""

    low: float
    high: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Px of a point."""
        return LEFT + (x - self.low) / (self.high - self.low) * SQUARE, TOP + SQUARE * (1 - y)

    def axes(self, across: str, up: str, x_ticks: Sequence[float]) -> list[str]:
        """The square itself, with numbers and words along it."""
        middle = SQUARE / 2
        parts = [f'<rect x="{LEFT}" y="{TOP}" width="{SQUARE}" height="{SQUARE}" fill="none" stroke="{RULE}"/>']
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            y = self.at(self.low, share)[1]
            parts.append(_line(LEFT, y, LEFT + SQUARE, y, RULE))
            parts.append(_text(LEFT - 7, y + 4, f"{share:g}", "end", FAINT))
        for tick in x_ticks:
            parts.append(_text(self.at(tick, 0.0)[0], TOP + SQUARE + 16, f"{tick:g}", "middle", FAINT))
        parts.append(_text(LEFT + middle, TOP + SQUARE + 36, across, "middle"))
        turned = f'transform="translate(11 {TOP + middle:.1f}) rotate(-90)" text-anchor="middle" fill="{INK}"'
        return [*parts, f"<text {turned}>{escape(up)}</text>"]

    def line(self, start: tuple[float, float], end: tuple[float, float], *look: Any) -> str:
        """A line between two points; `look` as in `_line`."""
        return _line(*self.at(*start), *self.at(*end), *look)

    def path(self, line: Line) -> str:
        """A line through points."""
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in line.points))
        dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
        return f'<polyline points="{points}" fill="none" stroke="{line.color}" stroke-width="2"{dash}/>'

    def legend(self, line: Line, number: int) -> list[str]:
        """The name of a line, to the right of the square."""
        x, y = LEFT + SQUARE + 16, TOP + 14 + 20 * number
        return [_line(x, y - 4, x + 24, y - 4, line.color, 2, line.dash), _text(x + 30, y, line.name, "start")]

    def circles(self, sizes: Sequence[tuple[float, float, int]]) -> list[str]:
        """Points with areas that stand for how many they are."""
        most = max((count for *_, count in sizes), default=1)
        parts = []
        for x, y, count in sizes:
            (across, up), radius = self.at(x, y), 3 + 7 * (count / most) ** 0.5
            parts.append(f'<circle cx="{across:.1f}" cy="{up:.1f}" r="{radius:.1f}" fill="{BLUE}"/>')
            parts.append(_text(across + radius + 3, up + 4, str(count), "start", FAINT))
        return parts


def _margin(labels: Iterable[str]) -> float:
    """Px that labels to the left of a picture take."""
    return min(16 + CHARACTER * max(map(len, labels), default=0), MAX_MARGIN)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, about five of them."""
    step = next(each for each in (0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100) if (high - low) / each <= 6)
    first = -int(-low / step) if low < 0 else int(low / step)
    return [round(step * number, 6) for number in range(first, int(high / step + 1e-9) + 1)]


def _svg(width: float, height: float, parts: Iterable[str], told: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(told)}">{"".join(parts)}</svg>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, color: str, width: float = 1, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{color}" stroke-width="{width}"{dashed}/>'


def _text(x: float, y: float, words: str, anchor: str, color: str = INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">{escape(words)}</text>'
