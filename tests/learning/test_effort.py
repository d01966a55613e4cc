"""What people did with suggestions, counted by the regions' ids as Label Studio keeps them."""

from __future__ import annotations

from typing import Any

import pytest

from corrected_tasks import CONFIG, annotation, prediction, task
from omni_timeline.learning.corrections import read_tasks
from omni_timeline.learning.effort import Effort, efforts
from omni_timeline.segments import Segment

SUGGESTED = [
    Segment(0, 2, "speech", "hello"),
    Segment(4, 6, "music"),
    Segment(8, 10, "door"),
    Segment(12, 14, "door"),
    Segment(20, 22, "music"),
]


def corrected(suggested: list[dict[str, Any]], changes: dict[int, Segment | None]) -> list[dict[str, Any]]:
    """The results of a prediction with some of its regions changed or deleted; ids stay."""
    names = list(dict.fromkeys(each["id"] for each in suggested))
    became = [(name, changes.get(number, SUGGESTED[number])) for number, name in enumerate(names)]
    return [
        {**each, "id": name}
        for name, segment in became
        if segment is not None
        for each in CONFIG.to_result([segment], duration=60.0, task_data={})
    ]


def efforts_of(*rows: dict[str, Any], now: dict[str, list[Segment]] | None = None) -> tuple[Effort, ...]:
    tasks = read_tasks(rows, CONFIG).tasks
    by_key = {found.key: (now or {}).get(str(found.task), []) for found in tasks}
    return efforts(tasks, {found.key: 60.0 for found in tasks}, by_key if now is not None else {}, "m-now")


def test_every_change_is_counted_once_by_kind():
    shown = prediction(5, SUGGESTED)
    result = corrected(
        shown["result"],
        {
            0: Segment(0, 2, "speech", "hello there"),
            1: Segment(4.4, 6.2, "music"),
            2: Segment(8, 10, "speech"),
            3: None,
        },
    )
    result += CONFIG.to_result([Segment(30, 31, "door")], duration=60.0, task_data={})
    [effort] = efforts_of(task(1, annotation(1, [], result=result, parent_prediction=5), predictions=[shown]))
    assert (effort.version, effort.is_shown, effort.annotations, effort.suggested) == ("m-1", True, 1, 5)
    assert (effort.kept, effort.moved, effort.renamed, effort.rewritten, effort.deleted, effort.added) == (
        1, 1, 1, 1, 1, 1,
    )  # fmt: skip
    assert effort.start_moved == pytest.approx((0.4, 0.4))
    assert effort.end_moved == pytest.approx((0.2, 0.2))
    assert effort.seconds_a_minute == pytest.approx(0.6)
    assert effort.lead_time == 30.0
    assert effort.acceptance is not None
    assert effort.acceptance.value == pytest.approx(1 / 5)


def test_what_was_drawn_again_where_it_was_deleted_is_a_change_of_it():
    shown = prediction(5, SUGGESTED[:1])
    again = annotation(1, [Segment(0, 2.4, "music", "hello")], parent_prediction=5)
    [effort] = efforts_of(task(1, again, predictions=[shown]))
    assert (effort.moved, effort.renamed, effort.deleted, effort.added) == (1, 1, 0, 0)


def test_versions_come_in_the_order_of_their_first_corrections():
    rows = [
        task(n, annotation(9 - n, [], parent_prediction=5), predictions=[prediction(5, SUGGESTED, version)])
        for n, version in ((1, "b"), (2, "a"), (3, "b"))
    ]
    first, second = efforts_of(*rows)
    assert (first.version, second.version) == ("b", "a")  # annotation 6, of task 3, is the earliest
    assert (first.annotations, first.deleted) == (2, 10)


def test_without_a_known_suggestion_an_annotation_is_put_beside_the_model_as_it_is_now():
    rows = [
        task(1, annotation(1, [Segment(0, 2, "speech")], lead_time=50.0)),
        task(2, annotation(2, [Segment(0, 2, "speech")], parent_prediction=5, lead_time=7.0), predictions=[5]),
    ]
    [effort] = efforts_of(*rows, now={"1": [Segment(0.5, 2, "music")], "2": []})
    assert (effort.version, effort.is_shown, effort.annotations) == ("m-now", False, 2)
    assert (effort.suggested, effort.moved, effort.renamed, effort.added) == (1, 1, 1, 1)
    # Only the one from scratch tells how long annotating from scratch takes.
    assert (effort.lead_time, effort.timed) == (50.0, 1)
    assert efforts_of(*rows) == ()  # nothing is known of the model
