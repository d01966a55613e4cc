"""Each annotation beside what it began from, and nothing that nobody meant."""

from __future__ import annotations

import json

import pytest

from corrected_tasks import CONFIG, annotation, prediction, task
from omni_timeline.errors import RequestError
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.learning.corrections import FEW_TASKS, HELD_OUT, read_tasks
from omni_timeline.segments import Segment
from places import FIXTURES

SPEECH, MUSIC = Segment(1.0, 2.0, "speech", "hello", 0.7), Segment(4.0, 6.0, "music")


def plain(segment: Segment) -> Segment:
    """As a person marks it, whose regions have no score of their own here."""
    return Segment(segment.start, segment.end, segment.label, segment.text)


def test_what_label_studio_stored_after_a_submit_is_read():
    """Recorded: one edge was dragged from frame 90 to 95, in both results of the region."""
    recorded = json.loads((FIXTURES / "label-studio" / "task_after_human_submit.json").read_text())
    config = LabelConfig.from_xml(
        '<View><Video name="video" value="$video" frameRate="$fps"/><TimelineLabels name="events" toName="video">'
        '<Label value="Speech"/><Label value="Action"/></TimelineLabels>'
        '<TextArea name="description" toName="video" perRegion="true"/></View>'
    )
    [found] = read_tasks([recorded], config).tasks
    [correction] = found.corrections
    assert (found.task, correction.person, correction.seconds) == (1, "user 1", 9.108)
    assert correction.began_from is not None
    assert correction.began_from.version == "probe-A"
    became = {region.id: (region.segment.start, region.segment.end) for region in correction.regions}
    was = {region.id: (region.segment.start, region.segment.end) for region in correction.began_from.regions}
    assert (was["seg1"], became["seg1"]) == ((0.0, 3.0), (0.0, 95 / 30))
    assert (was["seg2"], became["seg2"]) == ((59 / 30, 5.0), (59 / 30, 5.0))


def test_the_suggestion_is_the_prediction_that_is_named():
    stored = [prediction(5, [SPEECH], "m-1"), prediction(6, [MUSIC], "m-2")]
    [found] = read_tasks([task(1, annotation(1, [SPEECH], parent_prediction=6), predictions=stored)], CONFIG).tasks
    [correction] = found.corrections
    assert correction.began_from is not None
    assert (correction.began_from.version, correction.began_from.segments) == ("m-2", (MUSIC,))
    assert [suggestion.version for suggestion in found.suggestions] == ["m-1", "m-2"]


def test_the_copy_that_the_annotation_holds_is_what_was_shown():
    """The stored prediction may have been made anew since."""
    shown = prediction(5, [SPEECH], "m-1")
    now = prediction(5, [MUSIC], "m-9")
    [found] = read_tasks(
        [task(1, annotation(1, [SPEECH], prediction=shown, parent_prediction=5), predictions=[now])], CONFIG
    ).tasks
    [correction] = found.corrections
    assert correction.began_from is not None
    assert (correction.began_from.version, correction.began_from.segments) == ("m-1", (SPEECH,))


def test_an_export_that_names_predictions_by_number_only_does_not_say_what_was_shown():
    """Label Studio's "Export" writes numbers; that is not the same as having begun from nothing."""
    rows = [
        task(1, annotation(1, [SPEECH], parent_prediction=5), predictions=[5]),
        task(2, annotation(2, [SPEECH], parent_prediction=None)),
        task(3, annotation(3, [SPEECH], prediction={"id": 5, "result": [], "model_version": "m-1"})),
    ]
    named, scratch, nothing = (found.corrections[0] for found in read_tasks(rows, CONFIG).tasks)
    assert (named.began_from, named.is_from_scratch) == (None, False)
    assert (scratch.began_from, scratch.is_from_scratch) == (None, True)
    assert nothing.began_from is not None  # a suggestion of nothing is a suggestion
    assert nothing.began_from.segments == ()


def test_skipped_and_cancelled_annotations_are_left_out_and_counted():
    rows = [
        task(1, annotation(1, [SPEECH], was_cancelled=True), annotation(2, [MUSIC], person=2)),
        task(2, annotation(3, [SPEECH], was_cancelled=True)),
        task(3),
    ]
    corrections = read_tasks(rows, CONFIG)
    [found] = corrections.tasks
    assert [each.segments for each in found.corrections] == [(plain(MUSIC),)]
    assert corrections.left_out == {"skipped or cancelled annotations": 2, "tasks without a correction": 2}


def test_an_empty_annotation_says_that_nothing_happens():
    [found] = read_tasks([task(1, annotation(1, []))], CONFIG).tasks
    assert found.corrections[0].segments == ()


def test_people_are_kept_apart_and_each_has_one_word():
    rows = [
        task(
            1,
            annotation(3, [MUSIC], person=1),
            annotation(1, [SPEECH], person=1),
            annotation(2, [SPEECH, MUSIC], person=2, completed_by={"id": 2, "email": "x@example.org"}),
        )
    ]
    corrections = read_tasks(rows, CONFIG)
    [found] = corrections.tasks
    assert [(each.person, each.annotation) for each in found.corrections] == [("user 1", 3), ("user 2", 2)]
    assert corrections.left_out == {"earlier annotations of the same person": 1}
    assert "example.org" not in repr(corrections)


def test_annotations_of_nobody_are_not_those_of_one_person():
    [found] = read_tasks([task(1, annotation(1, [SPEECH], None), annotation(2, [MUSIC], None))], CONFIG).tasks
    assert len(found.corrections) == 2


def test_starred_annotations_are_what_counts_as_right():
    both = task(1, annotation(1, [SPEECH], 1), annotation(2, [MUSIC], 2, ground_truth=True))
    rows = [both, task(2, annotation(3, []))]
    starred, other = read_tasks(rows, CONFIG).tasks
    assert [each.annotation for each in starred.reference] == [2]
    assert len(starred.corrections) == 2  # both still tell how far people agree
    assert starred.is_starred
    assert other.reference == other.corrections


def test_a_starred_annotation_is_not_replaced_by_a_later_one_of_the_same_person():
    row = task(1, annotation(1, [SPEECH], 1, ground_truth=True), annotation(9, [MUSIC], 1))
    [found] = read_tasks([row], CONFIG).tasks
    assert [each.annotation for each in found.corrections] == [1]


def test_tasks_without_a_video_are_left_out():
    corrections = read_tasks([task(1, annotation(1, []), data={"text": "a"}), task(2, annotation(2, []))], CONFIG)
    assert [found.task for found in corrections.tasks] == [2]
    assert corrections.left_out == {"tasks without a text 'video' in their data": 1}


@pytest.mark.parametrize("row", [7, {}, {"id": 1, "annotator": 1, "label": []}, {"id": 1, "annotations": 3}])
def test_another_format_is_refused_with_what_to_do(row):
    with pytest.raises(RequestError, match="Export the project as JSON"):
        read_tasks([row], CONFIG)


@pytest.mark.parametrize("broken", [None, 7, {"id": 1}, {"id": 1, "result": None}, {"id": 1, "result": "oops"}])
def test_an_annotation_that_cannot_be_read_costs_only_itself(broken):
    corrections = read_tasks([task(1, broken, annotation(2, [MUSIC]))], CONFIG)
    assert [each.annotation for each in corrections.tasks[0].corrections] == [2]


def test_labels_that_the_config_no_longer_has_are_those_of_former_suggestions():
    other = LabelConfig.from_xml(
        '<View><Video name="video" value="$video"/><TimelineLabels name="events" toName="video">'
        '<Label value="talk"/></TimelineLabels></View>'
    )
    rows = [task(n, annotation(n, []), predictions=[prediction(n, [SPEECH, MUSIC][: n % 2 + 1])]) for n in (1, 2)]
    assert read_tasks(rows, other).labels_of_suggestions == ("speech", "music")


# --- Which tasks are held out ----------------------------------------------------------------------------------------


def test_starred_tasks_are_held_out_and_no_others():
    rows = [task(n, annotation(n, [], ground_truth=n in (2, 5))) for n in range(1, 40)]
    corrections = read_tasks(rows, CONFIG)
    assert corrections.split.rule == "starred"
    assert {found.task for found in corrections.tasks if found.key in corrections.split.held_out} == {2, 5}


def test_without_stars_a_quarter_is_held_out_and_stays_so():
    rows = [task(n, annotation(n, [])) for n in range(1, 201)]
    split = read_tasks(rows, CONFIG).split
    assert split.rule == "hash"
    assert 0.8 < len(split.held_out) * HELD_OUT / 200 < 1.2
    fewer = read_tasks(rows[:100], CONFIG)
    assert fewer.split.held_out == split.held_out & {found.key for found in fewer.tasks}
    # Neither the numbers of the tasks nor what was corrected changes it: an export imported elsewhere is split alike.
    elsewhere = [{**row, "id": row["id"] + 1000, "annotations": [annotation(1, [MUSIC])]} for row in rows]
    assert read_tasks(elsewhere, CONFIG).split == split


def test_two_tasks_with_one_video_are_never_parted():
    rows = [task(n, annotation(n, []), data={"video": f"{n // 2}.mp4"}) for n in range(2, 100)]
    corrections = read_tasks(rows, CONFIG)
    sides = {}
    for found in corrections.tasks:
        sides.setdefault(found.video, set()).add(found.key in corrections.split.held_out)
    assert all(len(side) == 1 for side in sides.values())


def test_of_a_few_tasks_none_is_held_out():
    rows = [task(n, annotation(n, [])) for n in range(1, FEW_TASKS)]
    assert read_tasks(rows, CONFIG).split.held_out == frozenset()
