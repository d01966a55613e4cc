"""How a report says numbers, and puts them into tables. Words of strangers become text, never a part of the page."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape

from omni_timeline.learning.evaluation import Measured
from omni_timeline.learning.report.drawings import BLUE, GREY, ORANGE
from omni_timeline.learning.resampling import Estimate

MAX_LABELS = 25  # in a table; more are counted
NAMES = {"now": "the model now", "learned": "learned", "stored": "in Label Studio"}
COLORS = {"now": GREY, "learned": BLUE, "stored": ORANGE}


def called(measured: Measured) -> str:
    """What a report calls a model version."""
    name = NAMES[measured.name]
    return f"{name} ({shortened(measured.model_version)})" if measured.name == "stored" else name


def counted(number: int, what: str) -> str:
    """Such as "1 task" or "2 tasks"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def shortened(words: str, most: int = 24) -> str:
    """The end of words that are too long; addresses and versions differ there."""
    return words if len(words) <= most else f"…{words[-most + 1 :]}"


def interval_of(found: Estimate, *, signed: bool = False) -> str:
    """Such as "0.71 to 0.83"; nothing where there is no interval."""
    if found.low is None or found.high is None:
        return ""
    return f"{found.low:+.2f} to {found.high:+.2f}" if signed else f"{found.low:.2f} to {found.high:.2f}"


def number_with_interval(found: Estimate, *, signed: bool = False) -> str:
    """Such as "0.77 (0.71 to 0.83)"."""
    value = f"{found.value:+.2f}" if signed else f"{found.value:.2f}"
    interval = interval_of(found, signed=signed)
    return f"{value} ({interval})" if interval else value


def cell_with_interval(found: Estimate) -> str:
    """A number above its interval, as HTML for a narrow cell."""
    interval = interval_of(found)
    return f"{found.value:.2f}<br><small>{interval}</small>" if interval else f"{found.value:.2f}"


def figure(picture: str, caption: str) -> str:
    """A picture with its caption, which is text."""
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Collection[int] = (), is_html: bool = False
) -> str:
    """A table; `numeric` columns to the right. Cells are text, or with `is_html` HTML."""

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = [' class="n"' if place in numeric else "" for place in range(len(cells))]
        return f"<tr>{''.join(f'<{tag}{kind}>{cell}</{tag}>' for kind, cell in zip(kinds, cells, strict=True))}</tr>"

    body = "".join(line(row if is_html else [escape(cell) for cell in row], "td") for row in rows)
    return f'<div class="wide"><table>{line([escape(cell) for cell in header], "th")}{body}</table></div>'
