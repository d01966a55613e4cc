"""Whose turn it is, as values: no threads, no processes, no waiting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omni_timeline.errors import MediaError, OmniTimelineError
from omni_timeline.media.clip import Clip, VideoInfo
from omni_timeline.model.family import ModelFacts
from omni_timeline.model.qwen2_5_omni.family import QWEN2_5_OMNI
from omni_timeline.pipeline.backlog import LINGER_SECONDS, MAX_OPEN, WINDOW_SECONDS, Backlog, Job, ReadyRow
from omni_timeline.pipeline.batches import RowCost
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import Prediction, Priority
from omni_timeline.pipeline.run import VideoRun
from omni_timeline.timebase import FrameTimes

FACTS = ModelFacts("a test", 784, 7840, 10_000)
BUDGET = 10_000


def job(name: str = "a.mp4", due: float = 0.0, *, urgent: bool = False) -> Job:
    return Job(Path(name), PredictOptions(window_seconds=10.0), due, urgent)


def begun(job: Job, duration: float = 8.0) -> Job:
    """As the decode thread leaves it once it has opened the video."""
    job.run = VideoRun(job.path, job.options, QWEN2_5_OMNI, FACTS)
    job.run.begin(VideoInfo(job.path, duration, 10.0, round(10 * duration), 56, 56, 0.0, False))
    return job


def decode(backlog: Backlog, job: Job, now: float = 0.0, **cost: Any) -> ReadyRow:
    """As the decode thread does: the job's next window becomes a row."""
    assert job.run is not None
    turn = job.run.next_window()
    assert turn is not None
    times = (turn[1].start, turn[1].end)
    info = VideoInfo(job.path, 100.0, 10.0, 1000, 2, 2, 0.0, False)
    clip = Clip(info, turn[1].start, turn[1].end, np.zeros((2, 3, 2, 2), np.uint8), FrameTimes(times), times, None)
    described = {"due": job.due, "tokens": 100, "kind": "silent", **cost}
    row = ReadyRow(job, job.run, turn[0], clip, 50, RowCost(**described), now)
    backlog.bytes_in_use += row.bytes
    backlog.decoded(row)
    job.is_decoding = False
    return row


@pytest.fixture
def backlog() -> Backlog:
    return Backlog(memory_bytes=10**9)


# --- whose turn it is to be decoded ----------------------------------------------------------------------------------
def test_the_job_that_is_due_first_is_next_and_is_open_then(backlog: Backlog):
    late, early = job(due=2.0), job(due=1.0)
    for each in (late, early):
        backlog.add(each)
    assert backlog.next_job() is early
    assert (backlog.waiting, backlog.open, early.is_decoding) == ([late], [early], True)


def test_a_job_is_decoded_by_one_thread_at_a_time(backlog: Backlog):
    only = begun(job(), 60.0)
    backlog.add(only)
    assert backlog.next_job() is only
    assert backlog.next_job() is None
    only.is_decoding = False
    assert backlog.next_job() is only


def test_a_question_goes_before_requests_and_requests_before_background_work():
    submitted = 100.0  # all at once
    due = {priority: submitted + priority.value for priority in Priority}
    assert due[Priority.INTERACTIVE] < due[Priority.REQUEST] < due[Priority.BACKGROUND]
    waiting_for_minutes = submitted - 300.0 + Priority.REQUEST.value
    assert due[Priority.INTERACTIVE] < waiting_for_minutes


def test_nobody_starves(backlog: Backlog):
    """Requests keep coming, one a second; work in the background that came before goes when it is due."""
    background = job("background.mp4", due=Priority.BACKGROUND.value)
    backlog.add(background)
    for second in range(1000):
        backlog.add(job(due=second + Priority.REQUEST.value))
        if backlog.next_job() is background:
            break
        backlog.open.clear()  # each request is done within its second
    assert second == pytest.approx(Priority.BACKGROUND.value - Priority.REQUEST.value, abs=1)


def test_a_video_of_many_windows_lets_newcomers_in_between(backlog: Backlog):
    """One of twelve hours that came a little earlier; the newcomer waits for a few windows, not for a thousand."""
    long = begun(job("long.mp4", due=0.0), 43_200.0)
    backlog.add(long)
    backlog.add(job("short.mp4", due=10.0))
    before = 0
    while backlog.next_job() is long:
        decode(backlog, long)
        before += 1
    assert before == 10.0 // WINDOW_SECONDS + 1


def test_no_more_videos_are_open_than_there_may_be_but_a_question_is_let_in(backlog: Backlog):
    for number in range(MAX_OPEN):
        backlog.add(job(due=float(number)))
        assert backlog.next_job() is not None
    backlog.add(job(due=0.0))
    assert backlog.next_job() is None
    question = job(due=1000.0, urgent=True)
    backlog.add(question)
    assert backlog.next_job() is question


def test_what_is_decoded_ahead_is_bounded_by_memory_and_one_clip_always_goes():
    first, second, third = (begun(job(f"{number}.mp4", due=float(number))) for number in range(3))
    backlog = Backlog(memory_bytes=2 * first.next_bytes + 1)
    for each in (first, second, third):
        backlog.add(each)
    assert backlog.next_job() is first
    assert backlog.reserve(first) == first.next_bytes > 0
    assert backlog.next_job() is second
    assert backlog.reserve(second) == first.next_bytes
    assert backlog.next_job() is None
    assert backlog.reserve(third) is None
    assert backlog.bytes_in_use == 2 * first.next_bytes
    backlog.release(first.next_bytes)
    assert backlog.next_job() is third
    small = Backlog(memory_bytes=1)
    assert small.reserve(begun(job())) is not None


def test_a_small_clip_does_not_go_past_a_large_one_that_waits_for_room():
    large = begun(job("large.mp4", due=1.0))
    small = begun(Job(Path("small.mp4"), PredictOptions(frames=4), due=2.0))
    assert small.next_bytes < large.next_bytes
    backlog = Backlog(memory_bytes=large.next_bytes, bytes_in_use=large.next_bytes - small.next_bytes)
    for each in (large, small):
        backlog.add(each)
    assert backlog.next_job() is None


def test_a_question_does_not_wait_for_room(backlog: Backlog):
    backlog.bytes_in_use = backlog.memory_bytes
    request, question = begun(job(due=1.0)), begun(job("question.mp4", urgent=True))
    for each in (request, question):
        backlog.add(each)
    assert backlog.next_job() is question
    assert backlog.reserve(question) == question.next_bytes
    assert backlog.next_job() is None


def test_nothing_but_a_question_is_decoded_while_enough_is_ready(backlog: Backlog):
    backlog.max_ready = 2
    first, second = begun(job("first.mp4"), 60.0), begun(job("second.mp4"))
    for each in (first, second):
        backlog.add(each)
        backlog.next_job()
    rows = [decode(backlog, first) for _ in range(2)]
    assert backlog.next_job() is None
    assert backlog.next_batch(BUDGET, now=0.0) == (rows, 0.0)  # and does not wait for what is not decoded
    assert backlog.next_job() is first
    first.is_decoding = False
    for _ in range(2):
        decode(backlog, first)
    backlog.add(question := job("question.mp4", urgent=True))
    assert backlog.next_job() is question


# --- which rows go into a model --------------------------------------------------------------------------------------
def test_a_batch_waits_for_rows_that_are_being_decoded_but_not_for_long(backlog: Backlog):
    first, second = begun(job("first.mp4")), begun(job("second.mp4"))
    for each in (first, second):
        backlog.add(each)
        backlog.next_job()
    row = decode(backlog, first, now=0.0)
    assert backlog.next_batch(BUDGET, now=LINGER_SECONDS / 4) == ([], pytest.approx(0.75 * LINGER_SECONDS))
    assert backlog.next_batch(BUDGET, now=LINGER_SECONDS) == ([row], 0.0)
    assert backlog.ready == []


def test_a_batch_does_not_wait_when_nothing_more_is_to_come(backlog: Backlog):
    only = begun(job())
    backlog.add(only)
    backlog.next_job()
    row = decode(backlog, only)
    assert backlog.next_batch(BUDGET, now=0.0) == ([row], 0.0)


def test_something_is_to_be_decoded_until_all_windows_are(backlog: Backlog):
    assert not backlog.has_to_decode
    only = begun(job())
    backlog.add(only)
    assert backlog.has_to_decode
    backlog.next_job()
    assert backlog.has_to_decode
    decode(backlog, only)
    only.is_decoding = False
    assert not backlog.has_to_decode


def test_a_full_batch_does_not_wait(backlog: Backlog):
    first, second = begun(job("first.mp4"), 60.0), begun(job("second.mp4"))
    for each in (first, second):
        backlog.add(each)
        backlog.next_job()
    rows = [decode(backlog, first, tokens=100) for _ in range(2)]
    assert backlog.next_batch(250, now=0.0) == (rows, 0.0)


def test_somebody_who_waits_does_not_wait_for_company(backlog: Backlog):
    question, other = begun(job("question.mp4", urgent=True)), begun(job("other.mp4"))
    for each in (question, other):
        backlog.add(each)
        backlog.next_job()
    row = decode(backlog, question)
    assert backlog.next_batch(BUDGET, now=0.0) == ([row], 0.0)


# --- what goes wrong -------------------------------------------------------------------------------------------------
def test_rows_that_a_process_took_along_are_asked_once_more_by_themselves(backlog: Backlog):
    jobs = [begun(job(f"{number}.mp4", due=float(number))) for number in range(3)]
    for each in jobs:
        backlog.add(each)
        backlog.next_job()
    rows = [decode(backlog, each) for each in jobs]
    batch, _ = backlog.next_batch(BUDGET, now=0.0)
    assert batch == rows
    assert backlog.again(batch) == []
    for row in rows:
        assert backlog.next_batch(BUDGET, now=0.0) == ([row], 0.0)
    assert backlog.again([rows[1]]) == [rows[1]]  # it took a second one along
    assert backlog.bytes_in_use == 100


def test_a_failure_frees_what_the_video_held_and_says_why(backlog: Backlog):
    failing, other = begun(job("failing.mp4"), 60.0), begun(job("other.mp4"))
    for each in (failing, other):
        backlog.add(each)
        backlog.next_job()
    decode(backlog, failing)
    kept = decode(backlog, other)
    backlog.fail(failing, MediaError("failing.mp4 is damaged."))
    assert str(failing.future.exception(0)) == "failing.mp4 is damaged."
    assert (backlog.open, backlog.ready, backlog.bytes_in_use) == ([other], [kept], 50)


def test_a_mistake_of_ours_is_told_as_one(backlog: Backlog, caplog: pytest.LogCaptureFixture):
    failing = job("failing.mp4")
    backlog.add(failing)
    backlog.fail(failing, ZeroDivisionError("1/0"))
    with pytest.raises(OmniTimelineError, match="Unexpected ZeroDivisionError"):
        failing.future.result(0)
    assert "ZeroDivisionError" in caplog.text


def test_what_is_done_stays_done(backlog: Backlog):
    done = job()
    backlog.add(done)
    found = Prediction(done.path, 1.0, (), "v", "")
    backlog.finish(done, found)
    backlog.fail(done, MediaError("too late"))
    assert done.future.result(0) is found


def test_nothing_is_taken_after_the_end(backlog: Backlog):
    first = job()
    backlog.add(first)
    assert backlog.close() == [first]
    assert not backlog.add(job())
