"""Processes of our own: what of the environment goes along."""

from __future__ import annotations

import pytest

from omni_timeline.processes import environment_without_secrets, threads_chosen


def test_secrets_do_not_go_along():
    given = {"LABEL_STUDIO_API_KEY": "a", "BASIC_AUTH_PASSWORD": "b", "WEBHOOK_SECRET": "c", "HF_HOME": "/d"}
    passed = environment_without_secrets(given)
    assert passed["HF_HOME"] == "/d"
    assert not set(passed) & set(list(given)[:3])


@pytest.mark.parametrize(("said", "threads"), [(None, 3), ("8", 8), ("4,2", 4), ("", 3), ("many", 3)])
def test_threads_are_as_somebody_chose(said: str | None, threads: int):
    assert threads_chosen(3, {} if said is None else {"OMP_NUM_THREADS": said}) == threads
