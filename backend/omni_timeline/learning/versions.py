"""The learned versions of projects, in a folder, and which of them each project is predicted with.

    project-7/corrections-20261126-1a2b3c/    a learned version
    project-7/choice.json                     what was chosen, one after the other; the last is in use

The server and the command line both read and write it: a choice is written whole or not at all, under a lock. Knows
nothing of how a version is learned, or of what a prediction is.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from omni_timeline.errors import RequestError
from omni_timeline.learning.version import PAGE, PARTIAL_PREFIX, VERSION, LearnedVersion

BASE = "base"  # the name of the model as it came
BACK = "back"  # stands for the version that was in use before
CHOICE, LOCK = "choice.json", "choice.lock"
FORMAT = 1
KEPT_CHOICES = 50
KEPT_UNUSED = 20  # of the newest versions of a project, whether they were in use or not
KEPT_VERSIONS = 64  # that are not read again

_NAME = re.compile(r"corrections-\d{8}-[0-9a-f]{6}")


class LearnedVersions:
    """Learned versions below `folder`, which is made when needed. May be used by several threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read = lru_cache(KEPT_VERSIONS)(lambda path, changed: LearnedVersion.load(path))

    @classmethod
    def in_cache(cls, cache_dir: Path) -> LearnedVersions:
        """Those of the server with this CACHE_DIR."""
        return cls(cache_dir.expanduser() / "learned")

    def project(self, number: int) -> Path:
        """The folder of a project."""
        return self.folder / f"project-{number}"

    def projects(self) -> list[int]:
        """The numbers of the projects of which anything is kept."""
        found = [re.fullmatch(r"project-(\d{1,18})", path.name) for path in self.folder.glob("project-*")]
        return sorted(int(each[1]) for each in found if each)

    def names(self, number: int) -> list[str]:
        """The versions of a project, newest first."""
        try:
            found = [path for path in self.project(number).iterdir() if _NAME.fullmatch(path.name)]
            return [path.name for path in sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)]
        except OSError:
            return []

    def load(self, number: int, name: str) -> LearnedVersion:
        """A version by its name.

        Raises:
            RequestError: there is none of that name, or it cannot be read.
        """
        folder = self.project(number) / name
        if not _NAME.fullmatch(name) or not folder.is_dir():
            known = ", ".join([BASE, *self.names(number)])
            raise RequestError(f"Project {number} has no version {name!r}; there are: {known}.")
        try:
            changed = (folder / VERSION).stat().st_mtime_ns
        except OSError:
            changed = 0  # reading it says what is wrong
        return self._read(folder, changed)

    def chosen(self, number: int) -> str:
        """The name of the version in use.

        Raises:
            RequestError: the choice cannot be read.
        """
        return self._choices(number)[-1]

    def page(self, number: int, name: str) -> str:
        """The report of a version, as HTML.

        Raises:
            RequestError: there is no such version, or it has no report.
        """
        self.load(number, name)
        try:
            return (self.project(number) / name / PAGE).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(f"The report of {name} cannot be read: {error}.") from error

    def in_use(self, number: int) -> LearnedVersion | None:
        """The version that a project is predicted with; None for the model as it came.

        Raises:
            RequestError: the choice, or what was chosen, cannot be read.
        """
        name = self.chosen(number)
        return None if name == BASE else self.load(number, name)

    def use(self, number: int, name: str, checkpoint: str | None = None) -> None:
        """Have a project predicted with a version, or with the model as it came.

        Args:
            number: the project.
            name: the version's, or "base".
            checkpoint: the model's version, to refuse what was learned on another; None where it is not known.

        Raises:
            RequestError: there is no such version, it was not offered, or it belongs to another checkpoint.
            OSError: the choice cannot be written; then nothing has changed.
        """
        if name != BASE:
            version = self.load(number, name)
            if not version.is_offered:
                raise RequestError(f"{name} is not offered. {version.reason}")
            if checkpoint is not None:
                version.check_base(checkpoint)
        with self._locked(number):
            try:
                before = self._choices(number)
            except RequestError:  # a broken file is mended by the next choice
                before = [BASE]
            if before[-1] != name:
                self._write(number, [*before, name])

    def back(self, number: int) -> str:
        """Have a project predicted with what was in use before; returns its name.

        Raises:
            RequestError: nothing was, or the choice cannot be read.
            OSError: the choice cannot be written; then nothing has changed.
        """
        with self._locked(number):
            before = self._choices(number)
            if len(before) == 1:
                raise RequestError(f"Project {number} has no earlier version to go back to; {before[0]} is in use.")
            self._write(number, before[:-1])
        return before[-2]

    def prune(self, number: int) -> None:
        """Remove old versions that were never in use; the newest stay.

        Raises:
            RequestError: the choice cannot be read.
        """
        with self._locked(number):
            chosen = self._choices(number)
            for name in self.names(number)[KEPT_UNUSED:]:
                if name not in chosen:
                    # Under this name it is no version any more, and the next that is learned removes what is left.
                    going = (self.project(number) / name).rename(self.project(number) / f"{PARTIAL_PREFIX}{name}")
                    shutil.rmtree(going, ignore_errors=True)

    def _choices(self, number: int) -> list[str]:
        """What was chosen; the last is in use."""
        file = self.project(number) / CHOICE
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            chosen = kept["chosen"]
            if (
                kept["format"] != FORMAT
                or not chosen
                or not all(name == BASE or _NAME.fullmatch(name) for name in chosen)
            ):
                raise ValueError("it is of another form")
        except FileNotFoundError:
            return [BASE]
        except OSError as error:
            raise RequestError(f"{file} cannot be read: {error.strerror}.") from error
        except (KeyError, TypeError, ValueError) as error:
            raise RequestError(
                f"{file} does not say which version is in use ({error}): choose one with `omni-timeline versions use`."
            ) from error
        return list(chosen)

    def _write(self, number: int, chosen: list[str]) -> None:
        write_whole(self.project(number) / CHOICE, json.dumps({"format": FORMAT, "chosen": chosen[-KEPT_CHOICES:]}))

    @contextmanager
    def _locked(self, number: int) -> Iterator[None]:
        folder = self.project(number)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def write_whole(file: Path, text: str) -> None:
    """Write a small file whole or not at all, and to the disk before this returns.

    Raises:
        OSError: it cannot be written; what was there before is still there.
    """
    descriptor, partial = tempfile.mkstemp(prefix=f".part-{file.name}-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
            os.fchmod(opened.fileno(), 0o644)  # mkstemp's are for the owner alone; the command may be another user's
        Path(partial).replace(file)
    except BaseException:
        with suppress(OSError):
            Path(partial).unlink()
        raise
