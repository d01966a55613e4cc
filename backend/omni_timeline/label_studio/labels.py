"""The labels of a project, and the label that a model's words mean."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from omni_timeline.label_studio.tags import Tag
from omni_timeline.segments import Segment


@dataclass(frozen=True)
class Label:
    """One <Label>: what Label Studio stores for it, and the other names under which a model may mean it.

    Attributes:
        value: the text that is stored: the alias where there is one, else the value, as the config has it.
        other_names: its value beside an alias, then those in `predicted_values`.
        hint: its meaning, from `hint` or else its other names; "" where the config has neither.
    """

    value: str
    other_names: tuple[str, ...] = ()
    hint: str = ""

    @classmethod
    def from_tag(cls, tag: Tag) -> Label | None:
        """The label of a <Label> tag; None where it has neither value nor alias."""
        # Label Studio and its SDK store the alias where there is one (LabelTag.parse_node; checked with 2.1.2).
        value = tag.exact("alias" if tag["alias"] else "value")
        if not value.strip():
            return None
        predicted = [name.strip() for name in tag["predicted_values"].split(",")]
        others = tuple(name for name in (tag["value"], *predicted) if name and name != value.strip())
        return cls(value, others, tag["hint"] or ", ".join(others))


class Vocabulary:
    """The labels of a project, each once, in their order.

    Args:
        labels: those of all controls; of two with one value the first counts.
        default: the value of the label for words that mean none of them.
    """

    def __init__(self, labels: Sequence[Label], default: str) -> None:
        self.default = default
        self.values = tuple(dict.fromkeys(label.value for label in labels))
        self.hints = {label.value: label.hint for label in reversed(labels) if label.hint}
        by_key: dict[str, str] = {}  # the first with a key has it; a value beats another label's other name
        for label in labels:
            by_key.setdefault(label_key(label.value), label.value)
        for label in labels:
            for name in label.other_names:
                by_key.setdefault(label_key(name), label.value)
        self._by_key = by_key
        self._exact = frozenset(self.values)

    def find(self, name: str) -> str | None:
        """The label that a model means by `name`; None where it means none of them."""
        return name if name in self._exact else self._by_key.get(label_key(name))

    def labeled(self, segment: Segment) -> Segment:
        """The segment with a label of the project; words that are none of its labels move into the text."""
        label = self.find(segment.label)
        if label is not None:
            return replace(segment, label=label)
        words = f"{segment.label}: {segment.text}" if segment.text else segment.label
        return replace(segment, label=self.default, text=words)


def label_key(name: str) -> str:
    """A key that spellings of a label share: case, width, white space, dashes and punctuation do not count."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    key = " ".join(re.sub(r"[\s_:–—-]+", " ", folded).split()).strip(" .,;!?*\"'`()[]“”‘’。、")
    return key or folded  # a label may be all punctuation
