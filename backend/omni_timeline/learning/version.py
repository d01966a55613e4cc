"""A learned version: a folder with everything that it is, written whole or not at all.

    version.json        which checkpoint it belongs to, the options, what it was made from, whether it is offered
    calibration.json    how the model's answers are read
    adapter/            what was trained on top of the checkpoint, if anything was
    report.json         the numbers that speak for it, and against it
    report.html         the same as a page

Knows the folder and who may use it. Knows nothing of how a version is learned.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from omni_timeline.errors import RequestError
from omni_timeline.model.adapter import Adapter
from omni_timeline.model.prompts import Prompt
from omni_timeline.pipeline.calibration import Calibration
from omni_timeline.pipeline.options import PredictOptions

FORMAT = 1
VERSION, CALIBRATION, REPORT, PAGE = "version.json", "calibration.json", "report.json", "report.html"
ADAPTER = "adapter"
PARTIAL_PREFIX = ".part-"


@dataclass(frozen=True)
class MadeFrom:
    """What a version was learned from.

    Attributes:
        source: the project or the export.
        learned: keys of the videos it was learned from; nothing may be measured on them.
        held_out: keys of the corrected videos that it was not learned from.
        annotations: how many there were in all.
    """

    source: str
    learned: tuple[str, ...]
    held_out: tuple[str, ...]
    annotations: int


@dataclass(frozen=True)
class LearnedVersion:
    """A model as one project reads it.

    Attributes:
        base: the version of the checkpoint that it belongs to.
        options: how videos are looked at and what the model is asked, with the calibration among them.
        made_from: what it was learned from.
        made_at: when, in UTC, as ISO 8601 writes it.
        is_offered: whether it is better than what was there before.
        reason: why, or why not, in a sentence.
        training: what came of training, in a sentence or two; "" where none was tried.
    """

    base: str
    options: PredictOptions
    made_from: MadeFrom
    made_at: str
    is_offered: bool
    reason: str
    training: str = ""

    @property
    def calibration(self) -> Calibration:
        """How the answers are read; the calibration that changes nothing where there is none."""
        return self.options.calibration or Calibration()

    @property
    def model_version(self) -> str:
        """What stands in predictions: names the checkpoint, the adapter, and the options with the calibration."""
        return self.options.version(self.base)

    @property
    def name(self) -> str:
        """When it was made, and from what: such as "corrections-20261126-1a2b3c"."""
        content = json.dumps([asdict(self.made_from), self.model_version], sort_keys=True)
        return f"corrections-{self.made_at[:10].replace('-', '')}-{hashlib.sha256(content.encode()).hexdigest()[:6]}"

    def check_base(self, checkpoint_version: str) -> None:
        """Refuse another checkpoint than the one that it was learned on.

        Raises:
            RequestError: it is another.
        """
        if checkpoint_version != self.base:
            raise RequestError(
                f"This version was learned on the checkpoint {self.base}, and the model is {checkpoint_version}: "
                "use that checkpoint, or learn from the corrections again."
            )

    def save(self, folder: Path, report: Mapping[str, Any], page: str) -> None:
        """Write the folder, which must not be there yet, or be empty.

        Whoever ends this process meanwhile leaves a folder beside it whose name begins with ".part-", and no version.

        Raises:
            RequestError: something is there.
            OSError: it cannot be written (a full disk, say); then nothing is there that was not there before.
        """
        check_room(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=folder.parent))
        try:
            partial.chmod(0o755)  # mkdtemp's are for the owner alone
            _write(partial / CALIBRATION, self.calibration.to_json())
            _write(partial / REPORT, json.dumps(report, ensure_ascii=False, allow_nan=False))
            _write(partial / PAGE, page)
            if self.options.adapter is not None:
                shutil.copytree(self.options.adapter.folder, partial / ADAPTER)
            _write(partial / VERSION, json.dumps(self._fields(), ensure_ascii=False, indent=1))
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    @classmethod
    def load(cls, folder: Path) -> LearnedVersion:
        """The version in a folder.

        Raises:
            RequestError: there is none, or one of another form.
        """
        try:
            kept = json.loads((folder / VERSION).read_text(encoding="utf-8"))
            if kept["format"] != FORMAT:
                raise ValueError(f"its format is {kept['format']!r}, and this release reads {FORMAT}")
            calibration = Calibration.from_json((folder / CALIBRATION).read_text(encoding="utf-8"))
            adapter = None if kept.get("adapter") is None else _adapter(folder / ADAPTER, str(kept["adapter"]))
            made_from = {**kept["made_from"], "learned": tuple(kept["made_from"]["learned"])}
            return cls(
                base=str(kept["base"]),
                options=_options(kept["options"], None if calibration.changes_nothing else calibration, adapter),
                made_from=MadeFrom(**{**made_from, "held_out": tuple(kept["made_from"]["held_out"])}),
                made_at=str(kept["made_at"]),
                is_offered=bool(kept["is_offered"]),
                reason=str(kept["reason"]),
                training=str(kept.get("training", "")),
            )
        except FileNotFoundError as error:
            raise RequestError(
                f"There is no learned version in {folder}: `omni-timeline learn --output {folder}` makes one."
            ) from error
        except OSError as error:
            raise RequestError(f"The learned version in {folder} cannot be read: {error.strerror}.") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RequestError(f"What is in {folder} is not a learned version: {error}.") from error

    def _fields(self) -> dict[str, Any]:
        options = asdict(self.options)
        del options["calibration"], options["adapter"]  # in files of their own
        return {
            "format": FORMAT,
            "name": self.name,
            "model_version": self.model_version,
            "base": self.base,
            "made_at": self.made_at,
            "is_offered": self.is_offered,
            "reason": self.reason,
            "training": self.training,
            "adapter": None if self.options.adapter is None else self.options.adapter.version,
            "made_from": asdict(self.made_from),
            "options": options,
        }


def check_room(folder: Path) -> None:
    """Refuse a place for a version where something is: a version is never written over.

    Raises:
        RequestError: something is there.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RequestError(
            f"There is something in {folder}; a learned version needs a folder of its own: name another."
        )


def _write(file: Path, text: str) -> None:
    with file.open("w", encoding="utf-8", errors="replace") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())


def _adapter(folder: Path, version: str) -> Adapter:
    """The adapter of a version.

    Raises:
        RequestError: there is none, or it cannot be read.
        ValueError: it is not the one that the version was made with.
    """
    found = Adapter.find(folder)
    if found.version != version:
        raise ValueError(f"its adapter is {found.version}, and it was made with {version}")
    return found


def _options(kept: Mapping[str, Any], calibration: Calibration | None, adapter: Adapter | None) -> PredictOptions:
    """Options from `dataclasses.asdict` of them by way of JSON.

    Raises:
        TypeError: they are of another release.
        RequestError: an option is invalid.
    """
    known = {field.name for field in fields(PredictOptions)} - {"calibration", "adapter"}
    if unknown := kept.keys() - known:
        raise ValueError(f"it has options that this release does not know: {', '.join(sorted(unknown))}")
    return PredictOptions(
        **{
            **kept,
            "labels": tuple(kept["labels"]),
            "hints": tuple((label, hint) for label, hint in kept["hints"]),
            "prompt": Prompt(**kept["prompt"]),
        },
        calibration=calibration,
        adapter=adapter,
    )
