"""The words given to the model.

Knows the default instruction, how to name the labels in it and how to read one from a file. Knows nothing of chat
templates, tokens or videos: `inputs` puts the words beside the clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omni_timeline.errors import RequestError

DEFAULT_USER = (
    "Could you detail events during different time segments? Format strictly:\n"
    "From xx to xx, event1.\n"
    "From xx to xx, event2.\n"
    "..."
)


@dataclass(frozen=True)
class Prompt:
    """What the user and the system say to the model beside the clip.

    Attributes:
        user: the instruction.
        system: the words before it; "" for none, None for those that the model's family was trained with.

    Raises:
        RequestError: there are no words for the user to say.
    """

    user: str = DEFAULT_USER
    system: str | None = None

    def __post_init__(self) -> None:
        if not self.user.strip():
            raise RequestError("The prompt is empty; write what the model should look for.")

    @classmethod
    def from_file(cls, path: Path) -> Prompt:
        """The user's words from a UTF-8 text file, without the blank space around them; the family's own system prompt.

        Raises:
            RequestError: the file cannot be read, is not text, or has no words in it.
        """
        try:
            words = path.read_text(encoding="utf-8-sig").strip()
        except OSError as error:
            raise RequestError(f"The prompt file {path} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise RequestError(f"The prompt file {path} is not UTF-8 text; save it as UTF-8.") from error
        if not words:
            raise RequestError(f"The prompt file {path} is empty; write what the model should look for.")
        return cls(user=words)


DEFAULT_PROMPT = Prompt()


def with_labels(
    labels: Sequence[str], hints: Mapping[str, str] | None = None, prompt: Prompt = DEFAULT_PROMPT
) -> Prompt:
    """`prompt` with one more line that names the labels: "Use only these labels: red square, low tone." added below it.

    The order is the caller's, repeated labels are named once. A hint follows its label in brackets. Labels are
    parted by semicolons where one of them has a comma in it.

    Args:
        labels: at least one.
        hints: what a label means, by label, for those whose name does not say it.
        prompt: what to add the line to.

    Raises:
        RequestError: no labels, or a blank one.
    """
    names = list(dict.fromkeys(" ".join(label.split()) for label in labels))
    if not names or "" in names:
        raise RequestError(f"A list of labels needs at least one, and none of them blank; got {list(labels)}.")
    explained = {" ".join(label.split()): " ".join(hint.split()) for label, hint in (hints or {}).items()}
    words = [f"{name} ({explained[name]})" if explained.get(name) else name for name in names]
    separator = "; " if any("," in word for word in words) else ", "
    return replace(prompt, user=f"{prompt.user}\nUse only these labels: {separator.join(words)}.")
