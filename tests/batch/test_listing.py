"""Which tasks are to be predicted: each once, whatever others do meanwhile."""

from __future__ import annotations

import pytest

from omni_timeline.batch.listing import PAGE, ProjectTasks
from omni_timeline.batch.outcomes import AlreadyThere, Failed, Task
from omni_timeline.errors import RequestError

from .plans import VERSION
from .shelf import PROJECT, Shelf

LONGER = f"{VERSION}-first"  # such as a version that was learned


def numbers(listed: ProjectTasks) -> list[int | None]:
    return [each.id for each in listed if isinstance(each, Task)]


def test_the_tasks_without_the_version_are_listed_page_by_page():
    shelf = Shelf.of(3 * PAGE)
    for number in range(10, 2010, 20):
        shelf.store(number, VERSION)
        shelf.store(number + 10, "another")
    listed = ProjectTasks(shelf, PROJECT, VERSION)
    assert listed.count() == (2 * PAGE, PAGE)
    expected = [number for number in shelf.tasks if VERSION not in shelf.versions()[number]]
    assert numbers(listed) == expected
    pages = [query for kind, query in shelf.asked if kind == "page"]
    assert len(pages) <= 6  # the tasks that have it are not even looked at


def test_tasks_that_are_predicted_meanwhile_do_not_push_others_off_the_pages():
    """Paging by number of the page would skip as many tasks as have got a prediction."""
    shelf = Shelf.of(3 * PAGE)
    seen = []
    for each in ProjectTasks(shelf, PROJECT, VERSION):
        assert isinstance(each, Task)
        assert each.id is not None
        seen.append(each.id)
        shelf.store(each.id, VERSION)
    assert seen == sorted(shelf.tasks)


def test_a_view_that_loses_tasks_as_they_are_predicted_is_listed_whole():
    shelf = Shelf.of(700)
    shelf.views[5] = lambda number: not shelf.stored.get(number)
    listed = ProjectTasks(shelf, PROJECT, VERSION, view=5)
    assert listed.count() == (700, 0)
    seen = []
    for each in listed:
        assert isinstance(each, Task)
        assert each.id is not None
        seen.append(each.id)
        shelf.store(each.id, VERSION)
    assert seen == sorted(shelf.tasks)


def test_a_view_becomes_shorter_between_its_pages():
    shelf = Shelf.of(1000)
    answers = iter([True] * 1000)
    shelf.views[5] = lambda number: next(answers, False)
    assert numbers(ProjectTasks(shelf, PROJECT, VERSION, view=5)) == sorted(shelf.tasks)[:500]


def test_given_tasks_are_done_or_not_there_at_all():
    shelf = Shelf.of(5)
    shelf.store(20, VERSION)
    found = list(ProjectTasks(shelf, PROJECT, VERSION, numbers=[10, 20, 99, 10]))
    assert [type(each) for each in found] == [Task, AlreadyThere, Failed]
    assert isinstance(found[2], Failed)
    assert found[2].reason == "Project 3 has no task 99."


def test_no_given_tasks_are_not_all_tasks():
    """Label Studio takes an empty selection for no selection."""
    assert list(ProjectTasks(Shelf.of(5), PROJECT, VERSION, numbers=[])) == []
    assert ProjectTasks(Shelf.of(5), PROJECT, VERSION).done([]) == set()


def test_a_version_that_contains_this_one_is_another():
    """Label Studio compares by "contains": the task would be skipped for ever, without a word."""
    shelf = Shelf.of(PAGE + 5)
    shelf.store(10, LONGER)
    shelf.store(20, VERSION)
    shelf.store(30, VERSION)
    shelf.store(30, LONGER)
    shelf.store(40, VERSION.upper())
    listed = ProjectTasks(shelf, PROJECT, VERSION)
    assert numbers(listed) == [number for number in shelf.tasks if number not in (20, 30)]
    assert listed.done([10, 20, 30, 40, 50]) == {20, 30}


def test_only_the_data_that_predicting_needs_is_kept():
    shelf = Shelf({1: {"video": "a.mp4", "transcript": "x" * 1000}})
    listed = ProjectTasks(shelf, PROJECT, VERSION, needed=lambda data: {"video": data["video"]})
    assert [each.data for each in listed if isinstance(each, Task)] == [{"video": "a.mp4"}]


@pytest.mark.parametrize(("project", "view"), [(4, None), (PROJECT, 9)])
def test_what_does_not_exist_is_an_error_of_the_command_line(project: int, view: int | None):
    with pytest.raises(RequestError, match=f"project {project}"):
        ProjectTasks(Shelf.of(1), project, VERSION, view=view).count()
    with pytest.raises(RequestError, match=f"project {project}"):
        list(ProjectTasks(Shelf.of(1), project, VERSION, view=view))


def test_tasks_with_an_old_version_beside_the_new_one():
    shelf = Shelf.of(3 * PAGE)
    for number in shelf.tasks:
        shelf.store(number, "old-1" if number % 20 else "old-2")
    for number in list(shelf.tasks)[:PAGE]:
        shelf.store(number, VERSION)
    listed = ProjectTasks(shelf, PROJECT, VERSION)
    assert list(listed.with_versions(["old-1"])) == [number for number in list(shelf.tasks)[:PAGE] if number % 20]
