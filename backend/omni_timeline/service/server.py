"""The parts of one server, wired: what Label Studio asks, without the HTTP that it asks by.

    model       makes predictions, in processes of their own
    projects    labeling config -> options and model version
    jobs        tasks wait for their turn and are predicted
    questions   a region that a person asks about in the labeling page
    outbox      what Label Studio is to get, in the journal
    delivery    outbox -> Label Studio
    learner     corrections -> learned versions, in a process of its own
    webhooks    new tasks -> jobs; Start Training and corrections -> learner

Nothing is started before `start`. What Label Studio 1.23.2 does with each answer was measured, see docs/operations.md;
two things shape this module. An answer without an entry for each task loses the whole batch, and so does one bad entry,
while [] costs that task only and is asked for again. And /health and /setup must answer within 1 s and 3 s whatever the
model is doing.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import Any

from omni_timeline.errors import ModelError, OmniTimelineError, RetryableError
from omni_timeline.label_studio.client import LabelStudioApi
from omni_timeline.label_studio.files import VideoFiles
from omni_timeline.label_studio.hosts import AllowedHosts
from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.label_studio.tasks import Model, TaskPredictor
from omni_timeline.learning.versions import BACK, LearnedVersions
from omni_timeline.learning.wire import Assignment
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.model.isolated import models_on
from omni_timeline.model.prompts import Prompt
from omni_timeline.model.wire import Load
from omni_timeline.pipeline.cache import PredictionCache
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.scheduler import Scheduler
from omni_timeline.service.bodies import PredictBody, SetupBody
from omni_timeline.service.delivery import Delivery
from omni_timeline.service.history import History
from omni_timeline.service.jobs import Jobs
from omni_timeline.service.journal import Journal
from omni_timeline.service.learner import Learner, Limits
from omni_timeline.service.outbox import Outbox
from omni_timeline.service.pending import Pending
from omni_timeline.service.projects import Projects
from omni_timeline.service.prometheus import Metrics
from omni_timeline.service.questions import Questions
from omni_timeline.service.settings import Settings
from omni_timeline.service.troubles import Troubles
from omni_timeline.service.webhooks import Webhooks

PREDICTING_THREADS = 24  # at most so many requests wait in /predict, so that /health and /setup find a thread
ROUND_SECONDS = 1.0  # s between two rounds of regular work
VERSION_SECONDS = 2.5  # s that /setup waits for the checkpoint's version; Label Studio hangs up after 3 s

log = logging.getLogger(__name__)


def limits_of(settings: Settings) -> DecodeLimits:
    """How much one video may ask of this machine."""
    return DecodeLimits(
        file_bytes=settings.max_video_bytes,
        pixels=settings.max_video_pixels,
        frames=settings.max_video_frames,
        duration=settings.max_video_seconds,
        streams=settings.max_video_streams,
        seconds=settings.decode_seconds,
        memory_bytes=settings.decode_memory_bytes,
        videos=settings.videos_per_decoder,
    )


def options_of(settings: Settings) -> PredictOptions:
    """What the model is asked, before a project has its say.

    Raises:
        RequestError: the prompt file cannot be read.
    """
    return PredictOptions(
        frames=settings.frames,
        window_seconds=settings.window_seconds,
        max_looks=settings.max_looks,
        prompt=Prompt.from_file(settings.prompt_file) if settings.prompt_file else Prompt(),
        constrained=settings.constrained,
        refine=settings.refine,
        score_threshold=settings.score_threshold,
        max_pixels=settings.max_pixels,
        audio_track=settings.audio_track,
        max_new_tokens=settings.max_new_tokens,
    )


def scheduler_of(settings: Settings) -> Scheduler:
    """What makes predictions: the model that `settings` describe, on each of its devices."""
    models = models_on(
        settings.device or (None,), _load(settings), silence_seconds=settings.model_silence_seconds, is_patient=True
    )
    return Scheduler(
        models,
        limits=limits_of(settings),
        decoders=settings.decoders,
        memory_bytes=settings.clip_memory_bytes,
    )


def _load(settings: Settings, device: str | None = None) -> Load:
    return Load(settings.model, settings.hub, device, settings.dtype, settings.quantization)


def assignment(settings: Settings, project: int, checkpoint: str) -> Assignment:
    """What a process is told that learns from a project.

    Raises:
        RequestError: the prompt file cannot be read.
    """
    folder = settings.cache_dir.expanduser()
    return Assignment(
        project=project,
        label_studio=settings.label_studio_url or "",
        api_key=settings.label_studio_api_key or "",
        public_host=settings.label_studio_host,
        checkpoint=checkpoint,
        load=_load(settings, settings.learning_device) if settings.learning_device else None,
        options=options_of(settings),
        folder=LearnedVersions.in_cache(folder).folder,
        videos=folder / "videos",
        predictions=folder / "predictions",
        local_files_root=settings.local_files_root,
        allowed_hosts=settings.allowed_video_hosts,
        allow_public_hosts=settings.allow_public_video_hosts,
        max_video_bytes=settings.max_video_bytes,
        video_bytes=settings.cache_bytes,
        prediction_bytes=settings.prediction_cache_bytes,
        max_seconds=settings.learning_max_seconds,
        log_level=logging.getLogger("omni_timeline").getEffectiveLevel(),
    )


def _api_of(settings: Settings) -> LabelStudioApi | None:
    """Label Studio; None where its address or the token is missing."""
    if not (settings.label_studio_url and settings.label_studio_api_key):
        return None
    return LabelStudioApi(settings.label_studio_url, settings.label_studio_api_key)


def _files_of(settings: Settings) -> VideoFiles:
    """Where the videos of tasks come from."""
    return VideoFiles(
        settings.label_studio_url,
        settings.label_studio_api_key,
        settings.cache_dir.expanduser() / "videos",
        settings.local_files_root,
        public_host=settings.label_studio_host,
        hosts=AllowedHosts(settings.allowed_video_hosts, public=settings.allow_public_video_hosts),
        max_bytes=settings.max_video_bytes,
        cache_bytes=settings.cache_bytes,
    )


class Server:
    """All parts of one server, and what its requests ask of them.

    Args:
        settings: what the operator decided.
        model: makes predictions.

    Attributes:
        started: when it was made, in seconds since 1970.

    Raises:
        RequestError: the prompt file cannot be read.
    """

    def __init__(self, settings: Settings, model: Model) -> None:
        self.settings = settings
        self.model = model
        self.metrics = Metrics()
        self.started = time.time()
        folder = settings.cache_dir.expanduser()
        self.cache = PredictionCache(folder / "predictions", settings.prediction_cache_bytes)
        self.journal = Journal(folder / "journal.sqlite")
        self.files = _files_of(settings)
        api = _api_of(settings)
        self.history = History(self.journal)
        self.versions = LearnedVersions.in_cache(settings.cache_dir)
        self.projects = Projects(model, options_of(settings), self.versions, self.history.fail)
        self.outbox = Outbox(self.journal)
        self.delivery = Delivery(self.outbox, api, self.history, self.metrics, self._renewed) if api else None
        predictor = TaskPredictor(model, self.files, self.cache)
        self.questions = Questions(predictor)
        self.jobs = Jobs(
            predictor,
            self._renewed,
            self.delivery,
            self.history,
            self.metrics,
            max_waiting=PREDICTING_THREADS,
            has_room=self.files.slots.has_room,
        )
        self.learner = Learner(
            self.versions,
            model,
            partial(assignment, settings) if api else None,
            Limits(
                settings.learning_max_seconds,
                settings.learning_memory_bytes,
                settings.learn_after,
                settings.learn_every_seconds,
            ),
            self.history.fail,
        )
        self.webhooks = Webhooks(
            self.projects,
            api if settings.prelabel_new_tasks else None,
            self.jobs.submit,
            self.learner,
            self.history.fail,
            self.metrics,
            version_seconds=settings.predict_deadline_seconds,
        )
        self.troubles = Troubles(
            model,
            settings.model_silence_seconds,
            self.delivery,
            self.journal,
            self.cache,
            self.files,
            self.learner.runs,
        )
        self.metrics.watch(model, self.jobs.counts, self.troubles.seconds)
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin to load the model, and start the threads that do what requests do not wait for."""
        self.model.start()
        self.jobs.start()
        if self.delivery is not None:
            self.delivery.start()
        self.webhooks.start()
        self.learner.start()
        threading.Thread(target=self._tend, name="tend", daemon=True).start()

    def setup(self, body: SetupBody) -> str:
        """The model version of a project's predictions.

        Raises:
            LabelConfigError: its labeling config has no place for a segment.
            ModelError: the version is not known yet, or there is no model.
        """
        return self.projects.find(body.xml, body.project, VERSION_SECONDS).version

    def predict(self, body: PredictBody) -> list[Any]:
        """One entry for each task, in order: its prediction, or an empty one where there is none (yet).

        Raises:
            LabelConfigError: the labeling config has no place for a segment.
            ModelError: there is no model.
        """
        patience = self.settings.predict_deadline_seconds
        deadline = time.monotonic() + patience
        self.projects.config(body.xml, body.project)  # an invalid one is refused before the model is there
        try:
            project = self.projects.find(body.xml, body.project, patience)
        except ModelError:
            if self.model.error is not None:
                raise
            log.warning("%d tasks are answered without a prediction: the model is still loading", len(body.tasks))
            return [[] for _ in body.tasks]
        requests = self.projects.requests(body.tasks, body.xml, project)
        if body.interactive:
            # Label Studio takes results[0] as it is; a list there breaks its page.
            return [{} if request is None else self._answer(request, body.regions) or {} for request in requests]
        return [[] if entry is None else entry for entry in self.jobs.ask(requests, deadline)]

    def choose_version(self, project: int, name: str) -> None:
        """Have a project predicted with a version from now on: by its name, "base", or "back" for the one before.

        Raises:
            RequestError: there is no such version, or it cannot be used with this model.
            RetryableError: the choice cannot be written.
        """
        try:
            if name == BACK:
                self.versions.back(project)
            else:
                self.versions.use(project, name, self.model.checkpoint_version)
        except OSError as error:
            raise RetryableError(f"The choice cannot be written: {error.strerror}.") from error
        log.info("Project %d: the version %s was chosen", project, self.versions.chosen(project))

    def _answer(self, request: TaskRequest, regions: Any) -> dict[str, Any] | None:
        """The answer to a question in the labeling page; None where nothing is asked.

        Raises:
            OmniTimelineError: there is no answer; Label Studio's page shows nothing then, the status page the reason.
        """
        try:
            return self.questions.answer(request, self.model.checkpoint_version or "", regions)
        except OmniTimelineError as error:
            self.history.fail("" if request.task is None else str(request.task), request.project, str(error))
            raise

    def stop(self) -> None:
        """Answer the requests that wait; begin nothing more."""
        self._stopping.set()
        self.webhooks.stop()
        self.learner.stop()
        self.jobs.stop()
        if self.delivery is not None:
            self.delivery.stop()

    def close(self) -> None:
        """End everything, the model's process too."""
        self.stop()
        self.model.close()
        self.history.save()
        self.journal.close()

    def _tend(self) -> None:
        """Do the regular work that must not delay a request, until the server stops."""
        while True:
            self.journal.recover()
            self.history.save()
            self.troubles.now()
            # Without the checkpoint's version, what was pending before cannot be predicted.
            is_known = self.model.checkpoint_version is not None and self.model.error is None
            if self.delivery is not None and is_known and (taken := self.outbox.tend(time.monotonic())):
                log.info("%d predictions are pending from a server that has ended", taken)
                self.delivery.wake()
            if self._stopping.wait(ROUND_SECONDS):
                return

    def _renewed(self, pending: Pending) -> TaskRequest:
        """The request for a pending task as it would be made now.

        Raises:
            RetryableError: there is no model at present.
            OmniTimelineError: the task can no longer be predicted.
        """
        try:
            project = self.projects.find(pending.xml, pending.project, 0.0)
        except ModelError as error:
            raise RetryableError(str(error)) from error
        return project.request(pending.item.task, pending.data, pending.xml)
