"""Learning and measuring, with a model that is a function: which tasks count, what is asked, what is offered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corrected_tasks import CONFIG, DURATION, XML, annotation, prediction, task
from omni_timeline.errors import FetchError, MediaError, RequestError
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.learning.asking import Answers, Model, ways_to_ask
from omni_timeline.learning.corrections import read_tasks
from omni_timeline.learning.evaluation import agreement, evaluate, stored
from omni_timeline.learning.learn import learn, measure
from omni_timeline.learning.material import Material
from omni_timeline.learning.sources import Source
from omni_timeline.pipeline.cache import PredictionCache
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import Prediction, Progress
from omni_timeline.segments import Segment

WORDS = {"speech": "a voice", "music": "a tune", "door": "a bang"}  # what the model calls them
OPTIONS = CONFIG.options(PredictOptions())
NOW = "2026-11-26T00:00:00+00:00"


class Videos:
    """Files of the names that tasks have for them, which nobody opens; some are gone."""

    def __init__(self, *gone: int) -> None:
        self._gone = gone

    @contextmanager
    def local(self, url: str, *, task_id: int | None = None) -> Iterator[Path]:
        if task_id in self._gone:
            raise FetchError(f"video {task_id} is gone")
        yield Path(url.rpartition("=")[2])


def events(number: int) -> list[Segment]:
    """What happens in video `number`."""
    rng = np.random.default_rng(number)
    starts = np.arange(2.0, 50.0, 10.0) + rng.uniform(0, 4, size=5)
    return [Segment(float(a), float(a) + 3.0, str(rng.choice(CONFIG.labels))) for a in starts[: rng.integers(1, 6)]]


@dataclass
class ModelOfWords:
    """Says everything in its own words; held to labels that it does not know, it says the first one.

    Attributes:
        asked: every video and what the model had to choose from.
    """

    asked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def __call__(self, path: Path, options: PredictOptions) -> Prediction:
        assert options.calibration is None
        assert options.score_threshold == 0.0
        self.asked.append((path.name, options.closed_labels))
        if path.stem == "998":
            raise PermissionError(13, "Permission denied")
        if path.stem == "999":
            raise MediaError("999.mp4 is not a video")
        words = [replace(event, label=WORDS[event.label], score=0.9) for event in events(int(path.stem))]
        known = options.closed_labels
        if known:
            words = [each if each.label in known else replace(each, label=known[0]) for each in words]
        return Prediction(path, DURATION, tuple(words), options.version("words-1"), "")


def words(version: int = 1) -> Model:
    """The model of words; two videos at a time."""
    return Model(f"words-{version}", ModelOfWords(), at_a_time=2)


def source_of(
    numbers: Sequence[int], starred: Sequence[int] = (), videos: Videos | None = None, **fields: Any
) -> Source:
    """A project in which people marked exactly what happens."""
    rows = [
        task(number, annotation(number, events(number), ground_truth=number in starred), **fields) for number in numbers
    ]
    return Source("project 7", CONFIG, read_tasks(rows, CONFIG), videos or Videos(), "http://studio")


def test_starred_tasks_are_measured_and_not_learned_from():
    outcome = learn(source_of(range(1, 31), range(21, 31)), words(1), OPTIONS, NOW)
    version, evaluation = outcome.version, outcome.evaluation
    assert version.is_offered
    assert {"a voice": "speech", "a tune": "music", "a bang": "door"}.items() <= dict(version.calibration.names).items()
    assert len(version.made_from.learned) == 20
    assert len(version.made_from.held_out) == 10
    now, learned = evaluation.versions
    assert (now.quality.tasks, learned.quality.tasks) == (10, 10)
    assert learned.quality.f1["0.7"].value == 1.0 > now.quality.f1["0.7"].value
    assert learned.before is not None
    assert learned.before.f1["0.5"].value == pytest.approx(1.0 - now.quality.f1["0.5"].value)
    assert [point.tasks for point in evaluation.curve] == [5, 10, 15, 20]
    assert learned.model_version == version.model_version != now.model_version


def test_without_stars_a_quarter_of_many_tasks_is_measured():
    source = source_of(range(1, 41))
    evaluation = learn(source, words(1), OPTIONS, NOW).evaluation
    assert evaluation.versions[-1].quality.tasks == len(source.corrections.split.held_out)
    assert "hash" in evaluation.split
    assert "held-out tasks, from which nothing" in evaluation.measured_on


def test_of_few_tasks_each_is_measured_by_what_was_learned_from_the_others():
    """The only task with a door in it has none: nothing else could tell what a bang is."""
    numbers = [n for n in range(1, 100) if "door" not in {e.label for e in events(n)}][:8]
    door = next(n for n in range(1, 100) if "door" in {e.label for e in events(n)} and len(events(n)) > 2)
    outcome = learn(source_of([*numbers, door]), words(1), OPTIONS, NOW)
    learned = {each.label: each for each in outcome.evaluation.versions[-1].quality.labels}
    assert "each predicted by what was learned from the others" in outcome.evaluation.measured_on
    assert dict(outcome.version.calibration.names)["a bang"] == "door"
    assert learned["door"].found == 0
    assert learned["speech"].f1.value == 1.0
    assert outcome.evaluation.curve == ()


def test_a_version_is_measured_on_what_it_was_not_learned_from():
    made = learn(source_of(range(1, 11)), words(1), OPTIONS, NOW).version
    more = measure(source_of(range(1, 16)), words(1), OPTIONS, made)
    assert more.versions[-1].quality.tasks == 5
    assert more.measured_on == "the tasks that the version was not learned from"
    same = measure(source_of(range(1, 11)), words(1), OPTIONS, made)
    assert "too good" in same.measured_on
    with pytest.raises(RequestError, match="words-2"):
        measure(source_of(range(1, 16)), words(2), OPTIONS, made)


def test_the_model_is_asked_in_its_own_words_and_with_former_labels():
    other = LabelConfig.from_xml(XML.replace("speech", "Rede"))
    rows = [task(1, annotation(1, []), predictions=[prediction(5, events(1)[:1])])]
    renamed = ways_to_ask(other.options(PredictOptions(score_threshold=0.3)), read_tasks(rows, other))
    former = (events(1)[0].label,)
    assert list(renamed) == [None, *([former] if former == ("speech",) else []), ()]
    assert {each.score_threshold for each in renamed.values()} == {0.0}
    generic = replace(OPTIONS, labels=("event",))
    assert list(ways_to_ask(generic, read_tasks([], CONFIG))) == [None]  # it is asked in its own words already


def test_each_video_is_asked_about_once_in_each_way():
    model = ModelOfWords()
    twins = {"data": {"video": "/data/local-files/?d=videos/3.mp4"}}
    rows = [task(n, annotation(n, events(3)), **twins) for n in (1, 2, 3)] + [task(4, annotation(4, events(4)))]
    source = Source("p", CONFIG, read_tasks(rows, CONFIG), Videos())
    evaluation = measure(source, Model("words-1", model), OPTIONS, with_curve=False)
    assert model.asked == [("3.mp4", CONFIG.labels), ("4.mp4", CONFIG.labels)]
    assert evaluation.versions[0].quality.annotations == 4
    assert evaluation.versions[0].quality.tasks == 2  # two videos: what is alike is drawn together


def test_what_cannot_be_asked_about_costs_its_task_only():
    source = source_of([*range(1, 9), 998, 999], videos=Videos(2))
    outcome = learn(source, words(1), OPTIONS, NOW)
    assert outcome.evaluation.failures == {
        2: "video 2 is gone",
        998: "[Errno 13] Permission denied",
        999: "999.mp4 is not a video",
    }
    assert len(outcome.version.made_from.learned) == 7
    with pytest.raises(RequestError, match=r"No video .* 999\.mp4 is not a video"):
        learn(source_of([999]), words(1), OPTIONS, NOW)
    with pytest.raises(RequestError, match="Nobody has corrected anything"):
        measure(source_of([]), words(1), OPTIONS)


def test_asking_ends_when_the_time_is_over():
    outcome = learn(source_of(range(1, 9)), words(1), OPTIONS, NOW, max_seconds=1e9)
    assert outcome.evaluation.failures == {}
    with pytest.raises(RequestError, match="were over before its turn"):
        learn(source_of(range(1, 9)), words(1), OPTIONS, NOW, max_seconds=1e-9)


def test_progress_is_told():
    told: list[Progress] = []
    learn(source_of(range(1, 31), range(21, 31)), words(1), OPTIONS, NOW, told.append)
    assert [progress.stage for progress in told if progress.done == 0] == [
        "predicting",
        "calibrating",
        "learning curve",
    ]
    assert told[30] == Progress("predicting", 30, 30)


def test_the_projects_threshold_holds_for_what_is_compared():
    rows = [task(1, annotation(1, events(1)))]
    source = Source("p", CONFIG, read_tasks(rows, CONFIG), Videos())
    strict = measure(source, words(1), replace(OPTIONS, score_threshold=0.95), with_curve=False)
    assert strict.versions[0].quality.found == 0


def test_what_was_predicted_before_is_remembered(tmp_path: Path):
    video = tmp_path / "4.mp4"
    video.write_bytes(b"video")
    model = ModelOfWords()
    predict = Model("words-1", model).remembering(PredictionCache(tmp_path / "cache", 10**6)).predict
    first, again = predict(video, OPTIONS), predict(video, OPTIONS)
    assert first == again
    assert len(model.asked) == 1
    predict(video, replace(OPTIONS, labels=()))
    assert len(model.asked) == 2


def test_stored_predictions_are_measured_beside_the_model_as_it_is_now():
    rows = [
        task(
            number,
            annotation(number, events(number)),
            predictions=[prediction(1, events(number)[:1], "old"), prediction(2, events(number), "newer")],
        )
        for number in (1, 2, 3)
    ]
    source = Source("p", CONFIG, read_tasks(rows, CONFIG), Videos())
    assert [version for version, _ in stored(source.corrections.tasks)] == ["old", "newer"]
    evaluation = measure(source, words(1), OPTIONS, with_curve=False)
    assert [(each.name, each.model_version[:5]) for each in evaluation.versions] == [
        ("stored", "old"),
        ("stored", "newer"),
        ("now", "words"),
    ]
    assert evaluation.versions[1].quality.f1["0.7"].value == 1.0
    assert evaluation.versions[1].before is not None
    assert evaluation.versions[1].before.f1["0.5"].value > 0


def test_the_worst_tasks_come_first_with_what_is_wrong_in_them():
    rows = [task(n, annotation(n, events(n))) for n in (1, 2, 3)]
    source = Source("p", CONFIG, read_tasks(rows, CONFIG), Videos(), "http://studio")
    first, second, third = source.corrections.tasks
    found = {
        first.key: tuple(events(1)),  # right
        second.key: (),  # all missed
        third.key: (*events(3)[1:], Segment(55, 57, "door")),
    }
    answers = Answers({None: found}, {each.key: DURATION for each in source.corrections.tasks})
    evaluation = evaluate(Material(source, "m", OPTIONS, answers), source.corrections.tasks, "all")
    worst, better = evaluation.worst
    assert (worst.task, worst.f1, worst.missed, worst.spurious) == (2, 0.0, len(events(2)), 0)
    assert (better.task, better.missed, better.spurious) == (3, 1, 1)
    assert worst.link == "http://studio/projects/7/data?task=2"


def test_two_people_who_differ_are_the_ceiling():
    one, other = [Segment(1, 3, "speech"), Segment(5, 8, "music")], [Segment(1, 3.4, "speech"), Segment(5, 8, "door")]
    rows = [task(1, annotation(1, one, 1), annotation(2, other, 2)), task(2, annotation(3, one, 1))]
    found = agreement(read_tasks(rows, CONFIG).tasks)
    assert found is not None
    assert (found.tasks, found.pairs, found.f1["0.5"], found.same_label) == (1, 1, 0.5, 0.5)
    assert found.edge == pytest.approx(0.0)
    assert agreement(read_tasks(rows[1:], CONFIG).tasks) is None
