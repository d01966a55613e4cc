r"""Predictions get into Label Studio, each exactly once.

    put -> waiting -> a batch: does Label Studio have it? -- yes --> there already
                                                         \-- no ---> stored, many at once or one by one

A batch is whatever waits when the one before is through, so it grows when Label Studio is slow. Label Studio removes
no duplicates: before anything is sent it is looked up, and after a call without a clear answer again, when Label Studio
has had the time to finish it. Whatever is still not stored is then sent once more.

Knows nothing of how predictions are made.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import count
from typing import Any, Protocol

from omni_timeline.batch.outcomes import AlreadyThere, Failed, Outcome, Predicted
from omni_timeline.batch.patience import PASSING, Patience
from omni_timeline.errors import DeliveryError, OmniTimelineError
from omni_timeline.label_studio.client import StoredPrediction

BATCH = 100  # predictions looked up, and perhaps stored, at once
MAX_WAITING = 200  # predictions; then the caller waits
CALLS = 4  # at a time, where predictions are stored one by one
UNCLEAR_SECONDS = 30.0  # s in which Label Studio may still finish a call that got no answer
MAX_ROUNDS = 6  # of sending; then what Label Studio still does not take has failed

# Label Studio 1.23.2 on SQLite. After each call that stores many it counts the predictions of the whole project again.
ONE_SECONDS = 0.05  # s for a prediction that is stored alone
MANY_SECONDS = 0.2  # s for a call that stores many,
COUNTING_SECONDS = 1.1e-4  # and for each task of the project

log = logging.getLogger(__name__)


class Api(Protocol):
    """The part of Label Studio's interface that is needed here."""

    def create_prediction(self, task: int, prediction: Mapping[str, Any]) -> None:
        """Store a prediction."""

    def import_predictions(self, project: int, predictions: Sequence[Mapping[str, Any]]) -> int:
        """Store many; how many were stored."""

    def stored_predictions(self, task: int) -> list[StoredPrediction]:
        """The predictions of a task."""

    def delete_prediction(self, prediction: int) -> None:
        """Remove a prediction."""


class Store:
    """Stores predictions in the background, within a `with` block. `put` may be called by one thread.

    Args:
        api: Label Studio.
        project: the project's number.
        done: those of these tasks that have a prediction of the version.
        settle: told what came of each prediction; called by the store's thread.
        tasks: how many the project has.
        patience: with calls that fail.
        pause: waits so many seconds.
    """

    def __init__(
        self,
        api: Api,
        project: int,
        done: Callable[[Iterable[int]], set[int]],
        settle: Callable[[Outcome], None],
        *,
        tasks: int = 0,
        patience: Patience | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = api
        self._project = project
        self._done = done
        self._settle = settle
        self._worth_a_call = (MANY_SECONDS + COUNTING_SECONDS * tasks) / ONE_SECONDS
        self._patience = patience or Patience()
        self._pause = pause
        self._change = threading.Condition()
        self._waiting: list[Predicted] = []
        self._is_storing = False
        self._is_closed = False
        self._error: OmniTimelineError | None = None
        self._opened = ExitStack()

    def __enter__(self) -> Store:
        self._pool = self._opened.enter_context(ThreadPoolExecutor(CALLS, "store"))
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._change:
            self._is_closed = True
            self._change.notify_all()
        self._thread.join()
        self._opened.close()

    def put(self, predicted: Predicted) -> None:
        """Take a prediction; waits while there are too many.

        Raises:
            OmniTimelineError: no more can be stored.
        """
        with self._change:
            self._change.wait_for(lambda: len(self._waiting) < MAX_WAITING or self._error is not None)
            if self._error is not None:
                raise self._error
            self._waiting.append(predicted)
            self._change.notify_all()

    def flush(self) -> None:
        """Return when all that was put is settled.

        Raises:
            OmniTimelineError: not all can be stored.
        """
        with self._change:
            self._change.wait_for(lambda: not (self._waiting or self._is_storing) or self._error is not None)
            if self._error is not None:
                raise self._error

    def _run(self) -> None:
        while True:
            with self._change:
                self._is_storing = False
                self._change.notify_all()
                self._change.wait_for(lambda: self._waiting or self._is_closed)
                if not self._waiting:
                    return
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                self._is_storing = True
                self._change.notify_all()
            try:
                self._store(batch)
            except Exception as error:
                self._give_up(error)
                return

    def _give_up(self, error: Exception) -> None:
        if not isinstance(error, OmniTimelineError):  # a mistake of ours
            log.error("Storing predictions failed", exc_info=error)
            error = OmniTimelineError(f"Unexpected {type(error).__name__} while predictions were stored.")
        with self._change:
            self._error = error
            self._change.notify_all()

    def _store(self, batch: Sequence[Predicted]) -> None:
        """Settle each prediction of a batch.

        Raises:
            DeliveryError: Label Studio does not take them, and that does not pass.
        """
        left = {number: predicted for predicted in batch if (number := predicted.task.id) is not None}
        sent: set[int] = set()  # by us, perhaps
        together = len(left) >= self._worth_a_call
        trouble: DeliveryError | None = None
        for round_number in count(1):
            for number in self._patience(lambda: self._done(left)) & left.keys():
                predicted = left.pop(number)
                self._settle(predicted if number in sent else AlreadyThere(predicted.task))
            if not left:
                return
            if trouble is not None and round_number > MAX_ROUNDS:
                for predicted in left.values():
                    self._settle(Failed(predicted.task, str(trouble)))
                return
            sent |= left.keys()
            trouble = self._send_together(left) if together else self._send_each(left)
            together = False  # a second time each for itself, so that one cannot hold up the others
            if trouble is None:
                continue
            log.warning("%s", trouble)
            self._pause(UNCLEAR_SECONDS if trouble.kind == "unclear" else max(trouble.retry_after, 2.0**round_number))

    def _send_together(self, left: dict[int, Predicted]) -> DeliveryError | None:
        """Send all in one call; takes those that are stored out of `left`. Why there are others, where one knows."""
        rows = [{"task": number, **predicted.entry} for number, predicted in left.items()]
        try:
            created = self._api.import_predictions(self._project, rows)
        except DeliveryError as error:
            if error.kind == "token":
                raise
            return error if error.kind in ("unclear", *PASSING) else None
        if created == len(rows):
            for number in list(left):
                self._settle(left.pop(number))
        return None

    def _send_each(self, left: dict[int, Predicted]) -> DeliveryError | None:
        """Send each by itself; takes those that are settled out of `left`. Why others are not."""
        trouble: DeliveryError | None = None
        for number, error in zip(list(left), self._pool.map(self._send, list(left.values())), strict=True):
            if error is None:
                self._settle(left.pop(number))
            elif error.kind == "token":
                raise error
            elif error.kind in ("unclear", *PASSING):
                trouble = error if trouble is None or error.kind == "unclear" else trouble
            else:
                self._settle(Failed(left.pop(number).task, str(error)))
        return trouble

    def _send(self, predicted: Predicted) -> DeliveryError | None:
        assert predicted.task.id is not None
        try:
            self._api.create_prediction(predicted.task.id, predicted.entry)
        except DeliveryError as error:
            return error
        return None


def remove_versions(
    api: Api, tasks: Iterable[int], version: str, old: Collection[str], patiently: Callable[[Callable[[], Any]], Any]
) -> int:
    """Remove the predictions of old versions from tasks that have one of `version`; how many were removed.

    Raises:
        DeliveryError: Label Studio does not answer as it should.
    """
    removed = 0
    for task in tasks:
        found: list[StoredPrediction] = patiently(partial(api.stored_predictions, task))
        if any(each.version == version for each in found):
            for each in found:
                if each.version in old and each.version != version:
                    patiently(partial(api.delete_prediction, each.id))
                    removed += 1
    return removed
