"""From a task's URL to a local file."""

from __future__ import annotations

import base64
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from omni_timeline.errors import FetchError
from omni_timeline.label_studio.files import VideoFiles
from sites import (
    HERE,
    LEGACY_TOKEN,
    VIDEO,
    Site,
    answer,
    cached,
    fetch,
    redirect_to,
    video,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "videos").mkdir(parents=True)
    (root / "videos" / "a b.mp4").write_bytes(VIDEO)
    (tmp_path / "secret.mp4").write_bytes(b"not yours")
    return root


@pytest.mark.parametrize(
    "url",
    [
        "/data/local-files/?d=videos/a%20b.mp4",
        "/data/local-files?d=videos/a+b.mp4",
        "http://label-studio:8080/data/local-files/?d=videos/a%20b.mp4",
    ],
)
def test_a_mounted_local_file_is_read_where_it_is(url: str, root: Path, tmp_path: Path):
    fetcher = VideoFiles("http://label-studio:8080", None, tmp_path / "cache", root)
    assert fetch(fetcher, url) == root / "videos" / "a b.mp4"
    assert cached(tmp_path / "cache") == []


def test_a_local_file_that_is_not_mounted_comes_through_label_studio(label_studio: Site, tmp_path: Path):
    label_studio.pages["/data/local-files/?d=videos/x.mp4"] = video
    fetcher = VideoFiles(label_studio.url, LEGACY_TOKEN, tmp_path)
    assert fetch(fetcher, "/data/local-files/?d=videos/x.mp4").read_bytes() == VIDEO
    assert label_studio.asked == [("/data/local-files/?d=videos/x.mp4", f"Token {LEGACY_TOKEN}", None)]


def test_a_bucket_address_goes_through_label_studios_resolver(label_studio: Site, tmp_path: Path):
    label_studio.pages["/tasks/7/resolve/"] = video
    fetcher = VideoFiles(label_studio.url, LEGACY_TOKEN, tmp_path)
    assert fetch(fetcher, "s3://bucket/a b.mp4", task_id=7).read_bytes() == VIDEO
    assert label_studio.paths() == [f"/tasks/7/resolve/?fileuri={base64.b64encode(b's3://bucket/a b.mp4').decode()}"]
    with pytest.raises(FetchError, match="stored in Label Studio"):
        fetch(fetcher, "gs://bucket/other.mp4")


def test_no_token_and_no_signature_is_written_down(
    label_studio: Site, make_site: Callable[[], Site], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """In logs, errors and the cache's names. urllib3 would log the whole address of an answer with odd headers."""
    caplog.set_level("DEBUG", logger="omni_timeline")
    bucket = make_site()

    def odd_headers(page: BaseHTTPRequestHandler) -> None:
        page.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nno colon\r\nX: y\r\n\r\nabc")
        page.close_connection = True

    bucket.pages["/odd.mp4"] = odd_headers
    bucket.pages["/missing.mp4"] = lambda page: answer(page, b"", status=404)
    query = "X-Amz-Signature=signature&X-Amz-Credential=credential"
    fetcher = VideoFiles(label_studio.url, LEGACY_TOKEN, tmp_path, hosts=HERE)
    said = []
    for page in ("odd.mp4", "missing.mp4"):
        label_studio.pages["/tasks/7/resolve/"] = redirect_to(f"{bucket.url}/{page}?{query}")
        try:
            said.append(fetch(fetcher, f"s3://bucket/{page}", task_id=7).name)
        except FetchError as error:
            said.append(f"{error!r} {error.__cause__!r}")
    assert len(said) == 2
    for text in (*said, caplog.text):
        assert not any(secret in text for secret in (LEGACY_TOKEN, "signature", "credential"))
