"""What the status page tells of the past."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from omni_timeline.service.history import MAX_SENTENCE, SHOWN_FAILURES, SHOWN_PREDICTIONS, History
from omni_timeline.service.journal import Journal
from task_requests import in_memory


def test_failures_are_still_told_after_a_restart(tmp_path: Path):
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        history = History(journal)
        history.fail("1", "7", "1.mp4 is not a video.")
        history.save()
        history.fail("2", "7", "2.mp4 is not a video.")
        history.save()
    told = History(Journal(tmp_path / "journal.sqlite")).failures()
    assert [(each.task, each.project, each.sentence) for each in told] == [
        ("2", "7", "2.mp4 is not a video."), ("1", "7", "1.mp4 is not a video."),
    ]  # fmt: skip


def test_the_same_failure_again_is_told_once_and_is_the_newest():
    history = History(in_memory())
    for task in ("1", "2", "1"):
        history.fail(task, "7", "no")
    assert [each.task for each in history.failures()] == ["1", "2"]


def test_only_the_last_ones_are_kept(tmp_path: Path):
    journal = Journal(tmp_path / "journal.sqlite")
    history = History(journal)
    for number in range(100):
        history.fail(str(number), "", "no")
        history.predict(str(number), "", {"result": []}, 1.0)
    history.save()
    assert len(history.predictions()) == SHOWN_PREDICTIONS
    assert history.failures()[0].task == history.predictions()[0].task == "99"
    assert len(History(journal).failures()) == SHOWN_FAILURES


def test_a_sentence_is_text_and_has_an_end():
    history = History(in_memory())
    history.fail("1", "", "half a character: \ud800 " + "x" * 5000)
    history.save()
    assert len(history.failures()[0].sentence) <= MAX_SENTENCE + 2
    history.failures()[0].sentence.encode()


def test_a_prediction_is_told_in_a_few_words():
    history = History(in_memory())
    history.predict("1", "7", {"result": [{"id": "a"}, {"id": "a"}, {"id": "b"}], "score": 0.5}, 1.25)
    history.predict("2", "7", {"result": [{"id": "a"}]}, 0.0)
    assert [each.words for each in history.predictions()] == ["1 region, 0.0 s", "2 regions, score 0.50, 1.2 s"]


def test_warnings_of_a_prediction_are_as_short_as_failures():
    history = History(in_memory())
    history.predict("1", "7", {"result": []}, 1.0, ("1.mp4 has 2 audio tracks.", "\ud800" + "x" * 5000))
    first, second = history.predictions()[0].warnings
    assert first == "1.mp4 has 2 audio tracks."
    assert len(second.encode()) <= MAX_SENTENCE + 10


def test_who_tells_of_a_failure_does_not_wait_for_the_journal(tmp_path: Path):
    """A request would: /setup with a labeling config that cannot be served, while a backup has the file locked."""
    path = tmp_path / "journal.sqlite"
    history = History(Journal(path))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        history.fail("", "7", "no")
        assert time.monotonic() - began < 0.1
        assert history.failures()
