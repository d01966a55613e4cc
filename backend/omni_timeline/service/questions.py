"""Answers to questions about one region, which a person waits for in the labeling page.

They go before everything else: not through the queue, and first in the scheduler. They are not sent later: an answer
that comes too late is lost, but the cache has it when the question is asked again.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import Any

from omni_timeline.errors import BusyError
from omni_timeline.label_studio.questions import Question
from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.label_studio.tasks import TaskPredictor
from omni_timeline.pipeline.prediction import Priority

MAX_ASKED = 8  # questions at a time

log = logging.getLogger(__name__)


class Questions:
    """Answers questions. May be used by several threads.

    Args:
        predictor: looks at videos.
        max_asked: how many questions may be open at a time.
    """

    def __init__(self, predictor: TaskPredictor, max_asked: int = MAX_ASKED) -> None:
        self._predictor = predictor
        self._asked = threading.Semaphore(max_asked)

    def answer(self, request: TaskRequest, checkpoint: str, result: Any) -> dict[str, Any] | None:
        """The region with the answer, as a prediction; None where nothing is asked.

        Args:
            request: the task, as it would be predicted.
            checkpoint: the checkpoint's version.
            result: the regions in the page, as Label Studio sends them.

        Raises:
            BusyError: too many questions are open.
            OmniTimelineError: why there is no answer.
        """
        asked_of = ((file, Question.find(result, file, request.data)) for file in request.config.files)
        file, question = next(((file, found) for file, found in asked_of if found), (request.config, None))
        if question is None:
            return None
        options = question.options(request.options)
        asked = replace(request, options=options, version=options.version(checkpoint))
        if not self._asked.acquire(blocking=False):
            raise BusyError("Too many questions are open; ask again in a moment.")
        try:
            found, _, _ = self._predictor.look(asked, lambda progress: None, Priority.INTERACTIVE, file)
        finally:
            self._asked.release()
        log.info("Task %s: a question about a region was answered", request.task)
        return file.prediction_of(
            question.region,
            question.answer(found),
            duration=found.duration,
            task_data=request.data,
            model_version=request.version,
        )
