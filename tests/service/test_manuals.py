"""What docs/ says of the server is what its code says: numbers, and the files that are named."""

from __future__ import annotations

import re

import pytest

from omni_timeline.label_studio import auth, client, video_cache
from omni_timeline.model import isolated
from omni_timeline.pipeline import backlog
from omni_timeline.service import app, debts, delivery, gunicorn, jobs, server
from places import ROOT

MANUALS = {name: " ".join((ROOT / name).read_text(encoding="utf-8").split()) for name in (
    "docs/operations.md", "docs/reliability.md", "SECURITY.md",
)}  # fmt: skip
OPERATIONS, RELIABILITY = MANUALS["docs/operations.md"], MANUALS["docs/reliability.md"]
COUNTED = {3: "three"}


@pytest.mark.parametrize(
    ("manual", "words"),
    [
        (OPERATIONS, f"answers {gunicorn.THREADS} requests at a time, at most {server.PREDICTING_THREADS} of them in"),
        (OPERATIONS, f"A body may have {app.MAX_BODY_BYTES // 1024**2} MiB."),
        (OPERATIONS, f"A client that sends nothing for {gunicorn.SLOW_CLIENT_SECONDS} s in the middle"),
        (OPERATIONS, f"access tokens that live {auth.ACCESS_TOKEN_SECONDS:.0f} s"),
        (OPERATIONS, f"{debts.CHECK_SECONDS:.0f} s after an answer the backend looks"),
        (OPERATIONS, f"A task at which the server crashed {COUNTED[jobs.MAX_ATTEMPTS]} times"),
        (RELIABILITY, f"{server.PREDICTING_THREADS} wait, the others are answered at once"),
        (RELIABILITY, f"More than {gunicorn.THREADS} clients"),
        (RELIABILITY, f"or are disconnected after {gunicorn.SLOW_CLIENT_SECONDS} s"),
        (RELIABILITY, f"after {COUNTED[isolated.LOADING_ATTEMPTS]} times in a row `/health` answers 503"),
        (RELIABILITY, f"after {COUNTED[jobs.MAX_ATTEMPTS]} crashes while the model worked on it"),
        (RELIABILITY, f"the answer takes longer than {client.TIMEOUT[1]:.0f} s"),
        (RELIABILITY, f"nothing is sent for {debts.UNCLEAR_SECONDS:.0f} s"),
        (RELIABILITY, f"deferred, for {debts.DEFERRAL_SECONDS[0]:.0f} s at first"),
        (RELIABILITY, f"and for {debts.DEFERRAL_SECONDS[-1] / 60:.0f} min in the end"),
        (RELIABILITY, f"{debts.CHECK_SECONDS:.0f} s after the answer the backend looks"),
    ],
)  # fmt: skip
def test_a_number_is_that_of_the_code(manual: str, words: str):
    assert words in manual


def test_what_the_manuals_say_in_words_is_so():
    assert video_cache.CACHE_SECONDS == 24 * 3600, "a file is fetched again after a day"
    assert (delivery.FIRST_PAUSE, delivery.MAX_PAUSE) == (1.0, 60.0), "at first after a second, in the end every minute"
    assert backlog.MAX_TRIES == 2, "when a second process ends at the same video, the task fails"
    assert gunicorn.STOP_SECONDS < 10, "exits within 10 s"


@pytest.mark.parametrize("manual", [RELIABILITY, MANUALS["SECURITY.md"]], ids=["reliability", "security"])
def test_the_tests_that_a_manual_names_are_there(manual: str):
    paths = re.findall(r"\btests/[\w/.-]*\w", manual)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in re.findall(r"`(test_\w+)`", manual) if f"def {name}(" not in sources] == []


def test_the_links_between_the_manuals_lead_somewhere():
    for name, text in MANUALS.items():
        for file, anchor in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", text):
            target = (ROOT / name).parent / file if file else ROOT / name
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, (name, file, anchor)
