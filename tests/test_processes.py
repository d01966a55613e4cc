"""Processes of our own: what of the environment goes along, and whose end is theirs."""

from __future__ import annotations

import os
import subprocess
import sys

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


@pytest.mark.parametrize(("parent", "said"), [("os.getppid()", "here"), ("os.getppid() + 1", "")])
def test_a_process_whose_parent_has_ended_already_ends_too(parent: str, said: str):
    code = f"import os; from omni_timeline.processes import end_with_parent; end_with_parent({parent}); print('here')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == said
