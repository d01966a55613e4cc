from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labeling_configs import CONFIG, XML
from omni_timeline.errors import (
    FetchError,
    MediaError,
    ModelError,
    OmniTimelineError,
    OutOfMemoryError,
    RequestError,
    RetryableError,
)
from omni_timeline.label_studio.files import VideoFiles
from omni_timeline.label_studio.host_slots import SLOTS
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.label_studio.tasks import TaskPredictor
from omni_timeline.pipeline.cache import PredictionCache
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import OnProgress, Prediction, Priority
from omni_timeline.segments import Segment
from scripted_model import ScriptedModel
from sites import HERE, Site, answer, video

LOCAL = "/data/local-files/?d=clip.mp4"
OPTIONS = CONFIG.options(PredictOptions())


class SizeModel(ScriptedModel):
    """Finds one segment as long as the file has bytes, so that a prediction tells of which content it is."""

    def __init__(self, meanwhile: Callable[[Path], None] = lambda _: None) -> None:
        super().__init__()
        self.meanwhile = meanwhile
        self.is_degraded = False

    def predict(
        self,
        path: Path,
        options: PredictOptions | None = None,
        on_progress: OnProgress | None = None,
        *,
        priority: Priority = Priority.REQUEST,
        group: str | None = None,
    ) -> Prediction:
        found = super().predict(path, options, on_progress, priority=priority, group=group)
        self.meanwhile(path)
        size = path.stat().st_size
        segments = (Segment(0, size, "Speech"),)
        return replace(found, duration=float(size), segments=segments, is_degraded=self.is_degraded)


def task(url: Any = LOCAL, number: int = 1) -> TaskRequest:
    version = OPTIONS.version("scripted-1")
    return TaskRequest(number, "1", {"video": url}, XML, CONFIG, OPTIONS, version)


class Setting:
    """A folder of local files with one clip, and what predicts it."""

    def __init__(self, folder: Path, model: ScriptedModel, **files: Any) -> None:
        self.root = folder / "root"
        self.root.mkdir(exist_ok=True)
        self.clip = self.root / "clip.mp4"
        self.clip.write_bytes(b"0123456789")
        self.cache = PredictionCache(folder / "predictions", 10**6)
        self.predictor = TaskPredictor(
            model, VideoFiles(None, None, folder / "videos", self.root, hosts=HERE, **files), self.cache
        )

    def predict(self, request: TaskRequest) -> tuple[int, bool]:
        """The last frame of the one region, and whether it was predicted before."""
        found = self.predictor(request, lambda _: None)
        [region] = found.entry["result"]
        return region["value"]["ranges"][0]["end"], found.kept


def test_a_video_is_predicted_once(tmp_path: Path):
    model = SizeModel()
    setting = Setting(tmp_path, model)
    assert setting.predict(task()) == (240, False)
    assert setting.predict(task(number=2)) == (240, True)
    (setting.root / "moved.mp4").write_bytes(b"0123456789")
    assert setting.predict(task("/data/local-files/?d=moved.mp4", 3)) == (240, True)
    assert model.asked == ["clip.mp4"]


def test_stages_are_told(tmp_path: Path):
    setting, told = Setting(tmp_path, SizeModel()), []
    setting.predictor(task(), lambda progress: told.append(str(progress)))
    assert told[:2] == ["fetching the video", "waiting for the model"]


@pytest.mark.parametrize("rename", [True, False])
def test_a_file_that_is_replaced_while_it_waits_is_predicted_again_and_nothing_is_kept(rename: bool, tmp_path: Path):
    """Its prediction would be kept under the digest of the old content, for every task with that."""

    def replaced(path: Path) -> None:
        other = path.with_name("other.mp4") if rename else path
        other.write_bytes(b"0123456789" * 2)
        other.replace(path)

    model = SizeModel(replaced)
    setting = Setting(tmp_path, model)
    with pytest.raises(RetryableError, match=r"clip\.mp4 was changed while it was predicted"):
        setting.predict(task())
    model.meanwhile = lambda _: None
    assert setting.predict(task()) == (480, False)
    (setting.root / "same.mp4").write_bytes(b"0123456789")
    assert setting.predict(task("/data/local-files/?d=same.mp4")) == (240, False)


def test_a_file_that_is_replaced_and_cannot_be_decoded_is_predicted_again(tmp_path: Path):
    def half_copied(path: Path) -> None:
        path.write_bytes(b"half")
        raise MediaError("clip.mp4 is cut off.")

    model = SizeModel(half_copied)
    with pytest.raises(RetryableError, match="was changed"):
        Setting(tmp_path, model).predict(task())


def test_downloaded_videos_stay_until_they_are_predicted(make_site: Callable[[], Site], tmp_path: Path):
    """As many tasks as are fetched from one host wait for the model, and the folder of videos has room for none."""
    site = make_site()
    for number in range(SLOTS):
        site.pages[f"/{number}.mp4"] = lambda page: answer(page, page.path.encode() * 10)
    together = threading.Barrier(SLOTS)
    setting = Setting(tmp_path, SizeModel(lambda _: (together.wait(60), None)[1]), cache_bytes=0)
    with ThreadPoolExecutor(SLOTS) as threads:
        found = threads.map(setting.predict, [task(f"{site.url}/{number}.mp4", number) for number in range(SLOTS)])
        assert list(found) == [(60 * 24, False)] * SLOTS


def test_what_was_made_with_less_than_asked_for_is_delivered_and_not_kept(tmp_path: Path):
    model = SizeModel()
    model.is_degraded = True
    setting = Setting(tmp_path, model)
    assert setting.predict(task()) == setting.predict(task()) == (240, False)


@pytest.mark.parametrize(
    ("answer", "model_error", "kind", "sentence"),
    [
        (MediaError("clip.mp4 is cut off."), None, MediaError, "clip.mp4 is cut off."),
        (ModelError("The engine ended."), ModelError("It is gone."), RetryableError, "The engine ended."),
        (OutOfMemoryError("Lower FRAMES."), None, RetryableError, "Lower FRAMES."),
        (ModelError("Not for this video."), None, ModelError, "Not for this video."),
    ],
)
def test_what_a_failure_of_the_model_means(
    answer: Exception, model_error: ModelError | None, kind: type[OmniTimelineError], sentence: str, tmp_path: Path
):
    model = ScriptedModel(answers={"clip.mp4": answer}, error=model_error)
    with pytest.raises(OmniTimelineError) as failure:
        Setting(tmp_path, model).predict(task())
    assert (type(failure.value), str(failure.value)) == (kind, sentence)


def test_a_checkpoint_that_was_changed_meanwhile_is_no_prediction_of_this_version(tmp_path: Path):
    model = ScriptedModel(checkpoint_version="scripted-2")
    with pytest.raises(RetryableError, match="checkpoint was changed"):
        Setting(tmp_path, model).predict(task())


@pytest.mark.parametrize("url", [None, 7, [LOCAL]])
def test_a_task_without_a_video_is_refused(url: Any, tmp_path: Path):
    with pytest.raises(RequestError, match="has no text 'video'"):
        Setting(tmp_path, SizeModel()).predict(task(url))


def test_a_server_that_is_down_is_asked_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("omni_timeline.label_studio.download.RETRY_PAUSE", 0.0)  # seconds otherwise
    with pytest.raises(RetryableError, match="could not be fetched"):
        Setting(tmp_path, SizeModel()).predict(task("http://127.0.0.1:9/x.mp4"))


def test_a_file_that_cannot_be_read_now_is_read_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A network file system may come back."""
    setting = Setting(tmp_path, SizeModel())

    def stale(_: Path) -> str:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(setting.cache, "digest", stale)
    with pytest.raises(RetryableError, match=r"clip\.mp4 cannot be read: Stale file handle\."):
        setting.predict(task())


@pytest.mark.parametrize("begin", ["http://{host}/", "http://user:SECRET@{host}/", "http://{host}/x.mp4"])
def test_no_signature_or_password_is_in_a_message(begin: str, make_site: Callable[[], Site], tmp_path: Path):
    """On the status page, in the journal, in the log: of an address without a file name all was shown."""
    site = make_site()
    site.pages["/"] = site.pages["/x.mp4"] = video
    setting = Setting(tmp_path, SizeModel())
    url = begin.format(host=site.url.removeprefix("http://")) + "?X-Amz-Signature=SECRET"

    def cannot_be_decoded(path: Path) -> None:
        raise MediaError(f"{path.name} is not a video.")

    setting.predictor = TaskPredictor(
        SizeModel(cannot_be_decoded), VideoFiles(None, None, tmp_path / "videos", hosts=HERE), setting.cache
    )
    for odd in (url, f"{url}\t", url.replace("http://", "http://[::1"), url.replace("?", "\ud800?")):
        with pytest.raises((MediaError, FetchError)) as failure:
            setting.predict(task(odd))
        assert "SECRET" not in str(failure.value)


def test_warnings_name_a_fetched_video_as_people_know_it_also_when_it_was_predicted_before(
    make_site: Callable[[], Site], tmp_path: Path
):
    site = make_site()
    site.pages["/take.mp4"] = video

    class WarningModel(SizeModel):
        def predict(self, path: Path, *asked: Any, **also: Any) -> Prediction:
            return replace(super().predict(path, *asked, **also), warnings=(f"{path.name} has 2 audio tracks.",))

    setting = Setting(tmp_path, WarningModel())
    for kept in (False, True):
        found = setting.predictor(task(f"{site.url}/take.mp4"), lambda _: None)
        assert (found.warnings, found.kept) == (("take.mp4 has 2 audio tracks.",), kept)


def test_every_video_of_a_task_is_predicted(tmp_path: Path):
    """They share one prediction; a video that another task has shown already is not predicted again."""
    xml = """<View><Video name="left" value="$a"/><Video name="right" value="$cameras.b"/>
        <TimelineLabels name="l" toName="left"><Label value="Speech"/></TimelineLabels>
        <TimelineLabels name="r" toName="right"><Label value="Speech"/></TimelineLabels></View>"""
    config = LabelConfig.from_xml(xml)
    options = config.options(PredictOptions())
    model = SizeModel()
    setting = Setting(tmp_path, model)
    (setting.root / "b.mp4").write_bytes(b"01234")

    def predicted(data: dict[str, Any]) -> tuple[list[tuple[str, int]], bool]:
        request = TaskRequest(1, "1", data, xml, config, options, options.version("scripted-1"))
        found = setting.predictor(request, lambda _: None)
        ends = [(region["to_name"], region["value"]["ranges"][0]["end"]) for region in found.entry["result"]]
        return ends, found.kept

    url = "/data/local-files/?d=b.mp4"
    assert predicted({"a": LOCAL}) == ([("left", 240)], False)
    both = config.needed_data({"a": LOCAL, "cameras": {"b": url}})
    assert predicted(both) == ([("left", 240), ("right", 120)], False)
    assert predicted(both) == ([("left", 240), ("right", 120)], True)
    assert model.asked == ["clip.mp4", "b.mp4"]
