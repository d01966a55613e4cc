"""Processes of our own: what of the environment goes along."""

from __future__ import annotations

from omni_timeline.processes import environment_without_secrets


def test_secrets_do_not_go_along():
    given = {"LABEL_STUDIO_API_KEY": "a", "BASIC_AUTH_PASSWORD": "b", "WEBHOOK_SECRET": "c", "HF_HOME": "/d"}
    passed = environment_without_secrets(given)
    assert passed["HF_HOME"] == "/d"
    assert not set(passed) & set(list(given)[:3])
