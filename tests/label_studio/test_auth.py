from __future__ import annotations

import json
import math
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import requests

from omni_timeline.errors import FetchError, UnreachableError
from omni_timeline.label_studio.auth import LabelStudioAuth
from omni_timeline.label_studio.files import VideoFiles
from sites import (
    HERE,
    LEGACY_TOKEN,
    PERSONAL_TOKEN,
    UPLOAD,
    VIDEO,
    Site,
    answer,
    fetch,
    gives_access_tokens,
    jwt,
    redirect_to,
    serving,
    video,
)


def test_a_personal_access_token_is_exchanged_once_and_the_access_token_used(label_studio: Site, tmp_path: Path):
    given = gives_access_tokens(label_studio)
    label_studio.pages["/data/upload/1/other.mp4"] = video
    fetcher = VideoFiles(label_studio.url, PERSONAL_TOKEN, tmp_path)
    fetch(fetcher, UPLOAD)
    fetch(fetcher, "/data/upload/1/other.mp4")
    assert label_studio.asked == [
        ("/api/token/refresh", None, None),
        (UPLOAD, f"Bearer {given[0]}", None),
        ("/data/upload/1/other.mp4", f"Bearer {given[0]}", None),
    ]


def test_an_access_token_is_renewed_before_it_expires(label_studio: Site, tmp_path: Path):
    given = gives_access_tokens(label_studio, lifetime=0.0)
    label_studio.pages["/data/upload/1/other.mp4"] = video
    fetcher = VideoFiles(label_studio.url, PERSONAL_TOKEN, tmp_path)
    fetch(fetcher, UPLOAD)
    fetch(fetcher, "/data/upload/1/other.mp4")
    assert [authorization for _, authorization, _ in label_studio.asked if authorization] == [
        f"Bearer {token}" for token in given
    ]
    assert len(given) == 2


def test_an_access_token_that_is_refused_early_is_renewed(label_studio: Site, tmp_path: Path):
    given = gives_access_tokens(label_studio)

    def refuses_the_first(page: BaseHTTPRequestHandler) -> None:
        first = page.headers["Authorization"] == f"Bearer {given[0]}"
        answer(page, b"{}", status=401) if first else video(page)

    label_studio.pages[UPLOAD] = refuses_the_first
    assert fetch(VideoFiles(label_studio.url, PERSONAL_TOKEN, tmp_path), UPLOAD).read_bytes() == VIDEO
    assert len(given) == 2


@pytest.mark.parametrize("token", [LEGACY_TOKEN, jwt(token_type="refresh", jti="revoked"), None])
def test_a_token_that_is_refused_is_an_error_that_names_the_variable_and_not_the_token(
    token: str | None, label_studio: Site, tmp_path: Path
):
    gives_access_tokens(label_studio)
    label_studio.pages[UPLOAD] = lambda page: answer(page, b'{"detail": "no"}', status=401)
    with pytest.raises(FetchError, match="LABEL_STUDIO_API_KEY") as refusal:
        fetch(VideoFiles(label_studio.url, token, tmp_path), UPLOAD)
    assert token is None or token not in str(refusal.value)


@pytest.mark.parametrize("token", [LEGACY_TOKEN, PERSONAL_TOKEN])
def test_the_token_goes_to_label_studio_and_nowhere_else(
    token: str, label_studio: Site, make_site: Callable[[], Site], tmp_path: Path
):
    gives_access_tokens(label_studio)
    bucket = make_site()
    bucket.pages["/signed"] = video
    bucket.pages["/x.mp4"] = video
    label_studio.pages["/tasks/7/resolve/"] = redirect_to(f"{bucket.url}/signed?X-Amz-Signature=abc")
    fetcher = VideoFiles(label_studio.url, token, tmp_path, hosts=HERE)
    fetch(fetcher, "s3://bucket/x.mp4", task_id=7)
    fetch(fetcher, f"{bucket.url}/x.mp4")
    assert [authorization for _, authorization, _ in bucket.asked] == [None, None]
    assert [authorization is not None for path, authorization, _ in label_studio.asked if "/tasks/" in path] == [True]


def test_an_address_that_only_looks_like_label_studio_gets_no_token(
    label_studio: Site, make_site: Callable[[], Site], tmp_path: Path
):
    """urllib reads `http://evil\\@label-studio/` as label-studio, the library that connects reads it as evil."""
    evil = make_site()
    host = label_studio.url.removeprefix("http://")
    fetcher = VideoFiles(label_studio.url, LEGACY_TOKEN, tmp_path, hosts=HERE)
    for url in (f"{evil.url}\\@{host}/x.mp4", f"http://{host}@{evil.url.removeprefix('http://')}/x.mp4"):
        with pytest.raises(FetchError):
            fetch(fetcher, url)
    assert [authorization for _, authorization, _ in evil.asked] == [None, None]
    assert label_studio.asked == []


def test_only_scheme_host_and_port_together_are_label_studio():
    auth = LabelStudioAuth("https://ls.example.org/base", LEGACY_TOKEN)
    assert auth.is_for("https://LS.example.org:443/data/upload/x")
    for url in ("http://ls.example.org/x", "https://ls.example.org:444/x", "https://ls.example.org.evil/x", "http://["):
        assert not auth.is_for(url)


@pytest.mark.parametrize(
    "path", ["/api/users", "/data/upload/../../api/users", "/data/upload/%252e%252e/api/users", "/user/login/", "/"]
)
def test_the_token_opens_label_studios_media_and_nothing_else_there(path: str, label_studio: Site, tmp_path: Path):
    """A task's author must not make the backend read what he may not."""
    label_studio.pages["/redirect"] = redirect_to(path)
    fetcher = VideoFiles(label_studio.url, LEGACY_TOKEN, tmp_path)
    for url in (f"{label_studio.url}{path}", f"{label_studio.url}/redirect"):
        with pytest.raises(FetchError):
            fetch(fetcher, url)
    assert {authorization for _, authorization, _ in label_studio.asked} == {None}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b"[" * 50_000,
        b'{"access": null}',
        b'{"access": ["SECRET"]}',
        b'{"access": ""}',
        b'{"access": "SECRET\\nX: y"}',  # would be a header of its own
        b'{"access": "SECRET\\ud800"}',
        '{"access": "SECRETé"}'.encode(),
        *(
            json.dumps({"access": jwt(exp=exp, iat=1000, SECRET=1)}).encode()
            for exp in (None, "x", "2000", [], True, math.nan, math.inf, 10**400)
        ),
        b'{"access": "' + b"x" * 100_000 + b'"}',
    ],
)
def test_odd_access_tokens_are_an_error_that_passes_and_shows_nothing_of_them(
    body: bytes, label_studio: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("DEBUG")
    label_studio.pages["/api/token/refresh"] = lambda page: answer(page, body)
    with pytest.raises(UnreachableError, match="gave no valid access token") as failure:
        fetch(VideoFiles(label_studio.url, PERSONAL_TOKEN, tmp_path), UPLOAD)
    error: BaseException | None = failure.value
    while error is not None:
        assert "SECRET" not in f"{error}"
        error = error.__cause__
    assert "SECRET" not in caplog.text


def test_an_access_token_without_a_lifetime_is_used():
    """Nothing says that it must be a JSON web token."""
    with serving(site := Site()):
        site.pages["/api/token/refresh"] = lambda page: answer(page, b'{"access": "opaque"}')
        auth = LabelStudioAuth(site.url, PERSONAL_TOKEN)
        request = auth(requests.Request("GET", f"{site.url}/data/upload/x").prepare())
    assert request.headers["Authorization"] == "Bearer opaque"
