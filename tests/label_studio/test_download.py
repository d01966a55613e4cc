"""Downloads from a real HTTP server that misbehaves on purpose."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from omni_timeline.errors import FetchError
from omni_timeline.label_studio.files import VideoFiles
from sites import (
    HERE,
    KIB,
    UPLOAD,
    VIDEO,
    Site,
    answer,
    cached,
    fetch,
    redirect_to,
    video,
)


def test_a_redirect_to_a_local_file_is_refused(label_studio: Site, tmp_path: Path):
    label_studio.pages["/x.mp4"] = redirect_to("file:///etc/passwd")
    with pytest.raises(FetchError, match=r"not http\(s\)"):
        fetch(VideoFiles(None, None, tmp_path, hosts=HERE), f"{label_studio.url}/x.mp4")


def test_redirects_that_do_not_end_are_given_up(label_studio: Site, tmp_path: Path):
    label_studio.pages["/x.mp4"] = redirect_to("/x.mp4")
    with pytest.raises(FetchError, match="redirects more than"):
        fetch(VideoFiles(None, None, tmp_path, hosts=HERE), f"{label_studio.url}/x.mp4")


def test_a_login_page_in_place_of_the_video_is_not_taken_for_one(label_studio: Site, tmp_path: Path):
    """The SDK's get_local_path keeps it as an .mp4."""
    label_studio.pages[UPLOAD] = redirect_to("/user/login/")
    label_studio.pages["/user/login/"] = lambda page: answer(page, b"<html>", Content_Type="text/html; charset=utf-8")
    with pytest.raises(FetchError, match="LABEL_STUDIO_API_KEY"):
        fetch(VideoFiles(label_studio.url, None, tmp_path), UPLOAD)
    assert cached(tmp_path) == []


def test_a_broken_connection_is_taken_up_where_it_broke(label_studio: Site, tmp_path: Path):
    def breaks(page: BaseHTTPRequestHandler) -> None:
        start = int((page.headers["Range"] or "bytes=0-")[6:-1])
        whole = {"status": 206, "Content_Range": f"bytes {start}-{len(VIDEO) - 1}/{len(VIDEO)}"} if start else {}
        answer(page, VIDEO[start : start + 256 * KIB], **{**whole, "Content_Length": len(VIDEO) - start})
        page.close_connection = True

    label_studio.pages[UPLOAD] = breaks
    assert fetch(VideoFiles(label_studio.url, None, tmp_path), UPLOAD).read_bytes() == VIDEO
    assert [span for _, _, span in label_studio.asked] == [None, "bytes=262144-", "bytes=524288-"]


def test_ranges_that_label_studio_cuts_short_are_put_together(label_studio: Site, tmp_path: Path):
    """Its proxy breaks off after 20 s, then answers each open range with 8 MiB at most; here 256 and 128 KiB."""

    def proxy(page: BaseHTTPRequestHandler) -> None:
        if page.headers["Range"] is None:
            answer(page, VIDEO[: 256 * KIB], Content_Length=len(VIDEO))
            page.close_connection = True
            return
        start = int(page.headers["Range"][6:-1])
        part = VIDEO[start : start + 128 * KIB]
        span = f"bytes {start}-{start + len(part) - 1}/{len(VIDEO)}"
        answer(page, part, status=206, Content_Range=span)

    label_studio.pages["/tasks/7/resolve/"] = proxy
    path = fetch(VideoFiles(label_studio.url, None, tmp_path), "s3://bucket/x.mp4", task_id=7)
    assert path.read_bytes() == VIDEO


def test_a_server_without_ranges_is_asked_for_the_whole_again(label_studio: Site, tmp_path: Path):
    def breaks_once(page: BaseHTTPRequestHandler) -> None:
        first = len(label_studio.asked) == 1
        answer(page, VIDEO[: 256 * KIB] if first else VIDEO, Content_Length=len(VIDEO))
        page.close_connection = True

    label_studio.pages[UPLOAD] = breaks_once
    assert fetch(VideoFiles(label_studio.url, None, tmp_path), UPLOAD).read_bytes() == VIDEO


def test_a_server_that_is_busy_for_a_moment_is_asked_again(label_studio: Site, tmp_path: Path):
    busy = lambda page: answer(page, b"", status=503) if len(label_studio.asked) == 1 else video(page)  # noqa: E731
    label_studio.pages[UPLOAD] = busy
    assert fetch(VideoFiles(label_studio.url, None, tmp_path), UPLOAD).read_bytes() == VIDEO


def test_a_video_that_always_breaks_off_is_an_error_and_leaves_nothing_behind(label_studio: Site, tmp_path: Path):
    """A truncated file in the cache would be a valid one from then on."""

    def breaks(page: BaseHTTPRequestHandler) -> None:
        answer(page, VIDEO[: 256 * KIB], Content_Length=len(VIDEO))
        page.close_connection = True

    label_studio.pages[UPLOAD] = breaks
    with pytest.raises(FetchError, match="could not be fetched"):
        fetch(VideoFiles(label_studio.url, None, tmp_path), UPLOAD)
    assert cached(tmp_path) == []


def test_nobody_listening_is_one_sentence_without_the_address_query(tmp_path: Path):
    with pytest.raises(FetchError, match="no connection") as failure:
        fetch(VideoFiles(None, None, tmp_path, hosts=HERE), "http://user:word@127.0.0.1:9/x.mp4?Signature=abc")
    assert "abc" not in str(failure.value)
    assert "word" not in str(failure.value)


def test_a_server_that_drips_does_not_outlast_the_deadline(
    label_studio: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A byte now and then keeps every time-out between two bytes from coming."""
    monkeypatch.setattr("omni_timeline.label_studio.download.DOWNLOAD_SECONDS", 0.5)  # 15 minutes otherwise

    def drips(page: BaseHTTPRequestHandler) -> None:
        answer(page, b"", Content_Length=10_000)
        for _ in range(10_000):
            page.wfile.write(b"x")
            page.wfile.flush()
            time.sleep(0.05)

    label_studio.pages[UPLOAD] = drips
    with pytest.raises(FetchError, match="took longer"):
        fetch(VideoFiles(label_studio.url, None, tmp_path), UPLOAD)


@pytest.mark.parametrize("says_its_size", [True, False])
def test_a_video_above_the_limit_is_refused(says_its_size: bool, label_studio: Site, tmp_path: Path):
    def large(page: BaseHTTPRequestHandler) -> None:
        if says_its_size:
            video(page)
        else:
            page.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + VIDEO)

    label_studio.pages[UPLOAD] = large
    with pytest.raises(FetchError, match="MAX_VIDEO_BYTES"):
        fetch(VideoFiles(label_studio.url, None, tmp_path, max_bytes=len(VIDEO) - 1), UPLOAD)
    assert cached(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, b"", "does not exist"),
        (500, b"", "does not exist, or"),  # Label Studio 1.23.2, of an upload that it does not know
        (400, b"", "400"),
        (200, b"", "is empty"),
    ],
)
def test_an_answer_without_a_video_says_what_came_instead(
    status: int, body: bytes, words: str, label_studio: Site, tmp_path: Path
):
    label_studio.pages[UPLOAD] = lambda page: answer(page, body, status=status)
    with pytest.raises(FetchError, match=words):
        fetch(VideoFiles(label_studio.url, None, tmp_path), UPLOAD)
