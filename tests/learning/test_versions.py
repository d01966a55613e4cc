"""Which learned version a project is predicted with: choices that hold, and files that are broken."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from omni_timeline.errors import RequestError
from omni_timeline.learning.version import VERSION, LearnedVersion, MadeFrom
from omni_timeline.learning.versions import BASE, CHOICE, KEPT_UNUSED, LearnedVersions, write_whole
from omni_timeline.pipeline.calibration import Calibration
from omni_timeline.pipeline.options import PredictOptions

PROJECT = 7
FIRST = LearnedVersion(
    base="demo-1",
    options=PredictOptions(labels=("crate",), calibration=Calibration(names=(("red square", "crate"),))),
    made_from=MadeFrom("project 7", ("a", "b"), (), 2),
    made_at="2026-11-26T10:00:00+00:00",
    is_offered=True,
    reason="On tasks that it was not learned from: F1 +0.50, mean IoU +0.40 (2 tasks).",
)
SECOND = replace(FIRST, made_from=replace(FIRST.made_from, learned=("a", "b", "c")))
NO_BETTER = replace(FIRST, made_at="2026-11-27T10:00:00+00:00", is_offered=False, reason="Nothing helped.")


def kept(versions: LearnedVersions, version: LearnedVersion) -> str:
    """The name of a version that is in its folder."""
    version.save(versions.project(PROJECT) / version.name, {}, "<p>report</p>")
    return version.name


@pytest.fixture
def versions(tmp_path: Path) -> LearnedVersions:
    return LearnedVersions(tmp_path / "learned")


def test_a_project_begins_with_the_model_as_it_came(versions: LearnedVersions):
    assert versions.in_use(PROJECT) is None
    assert versions.chosen(PROJECT) == BASE
    assert versions.names(PROJECT) == []
    assert versions.projects() == []


def test_a_chosen_version_is_in_use_for_everybody_who_looks_in_the_folder(versions: LearnedVersions):
    name = kept(versions, FIRST)
    versions.use(PROJECT, name)
    assert LearnedVersions(versions.folder).in_use(PROJECT) == FIRST
    assert versions.in_use(PROJECT + 1) is None
    assert versions.projects() == [PROJECT]
    assert versions.page(PROJECT, name) == "<p>report</p>"


def test_back_goes_back_one_choice_at_a_time(versions: LearnedVersions):
    first, second = kept(versions, FIRST), kept(versions, SECOND)
    for name in (first, second, second, BASE):  # the same one twice is one choice
        versions.use(PROJECT, name)
    assert [versions.back(PROJECT) for _ in range(3)] == [second, first, BASE]
    with pytest.raises(RequestError, match="no earlier version to go back to; base is in use"):
        versions.back(PROJECT)
    assert versions.chosen(PROJECT) == BASE


def test_what_was_learned_on_another_checkpoint_is_refused(versions: LearnedVersions):
    name = kept(versions, FIRST)
    with pytest.raises(RequestError, match="learned on the checkpoint demo-1, and the model is demo-2"):
        versions.use(PROJECT, name, "demo-2")
    assert versions.chosen(PROJECT) == BASE


def test_what_is_not_offered_is_refused_with_the_reason(versions: LearnedVersions):
    with pytest.raises(RequestError, match=r"is not offered\. Nothing helped"):
        versions.use(PROJECT, kept(versions, NO_BETTER))


@pytest.mark.parametrize("name", ["corrections-20261126-ffffff", "..", "../project-8", "", "/etc", ".part-x", "\0"])
def test_a_version_that_is_not_there_is_named_beside_those_that_are(name: str, versions: LearnedVersions):
    known = kept(versions, FIRST)
    with pytest.raises(RequestError, match=f"there are: base, {known}"):
        versions.use(PROJECT, name)


@pytest.mark.parametrize(
    "broken", ["", "{", "[]", '{"format": 2, "chosen": ["base"]}', '{"format": 1, "chosen": []}',
               '{"format": 1, "chosen": ["../.."]}', '{"format": 1, "chosen": [7]}', '{"format": 1, "chosen": 7}']
)  # fmt: skip
def test_a_choice_that_is_broken_is_an_error_until_the_next_choice(broken: str, versions: LearnedVersions):
    name = kept(versions, FIRST)
    (versions.project(PROJECT) / CHOICE).write_text(broken)
    with pytest.raises(RequestError, match="versions use"):
        versions.in_use(PROJECT)
    versions.use(PROJECT, name)
    assert versions.chosen(PROJECT) == name
    assert versions.back(PROJECT) == BASE


def test_a_version_that_is_broken_after_it_was_chosen_is_an_error(versions: LearnedVersions):
    name = kept(versions, FIRST)
    versions.use(PROJECT, name)
    file = versions.project(PROJECT) / name / VERSION
    file.write_text(json.dumps({"format": 99}))
    with pytest.raises(RequestError, match="format"):
        versions.in_use(PROJECT)
    file.unlink()
    with pytest.raises(RequestError, match="no learned version"):
        versions.in_use(PROJECT)


def test_old_versions_that_were_never_in_use_are_removed(versions: LearnedVersions):
    first = kept(versions, FIRST)
    versions.use(PROJECT, first)
    versions.use(PROJECT, BASE)
    made = [replace(SECOND, made_at=f"2026-11-{day:02}T10:00:00+00:00") for day in range(1, 30)]
    for age, version in enumerate(made):
        os.utime(versions.project(PROJECT) / kept(versions, version), (2e9 + age, 2e9 + age))
    versions.prune(PROJECT)
    assert versions.names(PROJECT) == [*(each.name for each in made[: -KEPT_UNUSED - 1 : -1]), first]
    assert versions.back(PROJECT) == first


def test_many_who_choose_at_a_time_lose_no_choice(versions: LearnedVersions):
    names = [kept(versions, FIRST), kept(versions, SECOND)]

    def choose(name: str) -> None:
        for _ in range(10):
            LearnedVersions(versions.folder).use(PROJECT, name)

    threads = [threading.Thread(target=choose, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept_choices = json.loads((versions.project(PROJECT) / CHOICE).read_text())["chosen"]
    assert kept_choices[0] == BASE
    assert set(kept_choices[1:]) == set(names)
    assert all(one != other for one, other in pairwise(kept_choices))


def test_a_file_that_cannot_be_written_leaves_the_one_before_and_nothing_beside_it(tmp_path: Path):
    file = tmp_path / "file"
    write_whole(file, "before")
    with pytest.raises(UnicodeEncodeError):
        write_whole(file, "half of a character: \ud800")
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]
