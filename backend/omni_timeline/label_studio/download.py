"""Downloads: an http(s) address -> a whole file.

Resumes where a connection broke. Each redirect is checked again: whether its host may be asked, and whether the token
goes along. Knows nothing of tasks, of the file's folder or of its content.
"""

from __future__ import annotations

import logging
import re
import time
from typing import IO
from urllib.parse import urljoin

import requests
from urllib3.exceptions import HTTPError

from omni_timeline.errors import FetchError, UnreachableError
from omni_timeline.label_studio.addresses import is_http, is_signed
from omni_timeline.label_studio.auth import TIMEOUT, LabelStudioAuth
from omni_timeline.label_studio.hosts import NO_PROXIES, AllowedHosts, InvalidIPAddress, public_session
from omni_timeline.label_studio.web import CHUNK_BYTES, reason, session, shown, unsigned

DOWNLOAD_SECONDS = 900.0  # s: a server that sends a byte now and then is given up
ATTEMPTS = 4  # in a row without a new byte
RETRY_PAUSE = 0.5  # s: before the second attempt; doubles
MAX_REDIRECTS = 5
RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class Downloader:
    """Downloads videos. May be used by several threads.

    Args:
        auth: signs requests to Label Studio; None when it is not set up.
        hosts: the other hosts that videos may be downloaded from.
        max_bytes: a larger video is refused.
    """

    def __init__(self, auth: LabelStudioAuth | None, hosts: AllowedHosts, max_bytes: int) -> None:
        # Its warnings about odd answers hold whole addresses, which may be signed.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        self._auth = auth
        self._hosts = hosts
        self._max_bytes = max_bytes

    def __call__(self, url: str, file: IO[bytes]) -> None:
        """Write what is at `url` into an empty file.

        Raises:
            UnreachableError: it cannot be downloaded now.
            FetchError: it cannot be downloaded at all, or is no video.
            OSError: the file cannot be written.
        """
        deadline = time.monotonic() + DOWNLOAD_SECONDS
        failures = 0
        with session() as named, public_session() as public:
            while True:
                before = file.tell()
                try:
                    total = self._receive(named, public, url, file, deadline)
                    if total is None or file.tell() == total:
                        break
                    trouble = f"the answer ended after {file.tell()} of {total} bytes"
                except _TransientError as error:
                    trouble = str(error)
                failures = 0 if file.tell() > before else failures + 1
                if failures == ATTEMPTS:
                    raise UnreachableError(f"{shown(url)} could not be fetched: {trouble}.")
                if failures:
                    time.sleep(RETRY_PAUSE * 2 ** (failures - 1))
        if file.tell() == 0:
            raise FetchError(f"{shown(url)} is empty.")

    def _receive(
        self, named: requests.Session, public: requests.Session, url: str, file: IO[bytes], deadline: float
    ) -> int | None:
        """One request's worth of `url` appended to `file`; the size of the whole, None when the server does not say.

        Raises:
            _TransientError: the next attempt may succeed.
            FetchError: no attempt can succeed.
        """
        # Label Studio cuts what it streams from a bucket after 20 s, and ranges to 8 MiB (1.23.2).
        resumed = {"Range": f"bytes={file.tell()}-"} if file.tell() else {}
        headers = {"Accept-Encoding": "identity", **resumed}  # lengths are those of the file
        try:
            with self._open(named, public, url, headers) as response:
                self._check_answer(response, url)
                total = _append_at(response, file)
                if total is not None and total > self._max_bytes:
                    raise FetchError(f"{shown(url)} has {total} bytes, more than MAX_VIDEO_BYTES ({self._max_bytes}).")
                # As it comes, not gathered to whole chunks: a byte now and then must not outlast the deadline.
                while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
                    file.write(chunk)
                    if file.tell() > self._max_bytes:
                        raise FetchError(f"{shown(url)} is larger than MAX_VIDEO_BYTES ({self._max_bytes}).")
                    if time.monotonic() > deadline:
                        raise FetchError(f"{shown(url)} took longer than {DOWNLOAD_SECONDS:.0f} s.")
                return total
        except requests.RequestException as error:
            if isinstance(error, ValueError):  # requests' classes for an address or an answer that is none
                raise FetchError(f"{shown(url)} cannot be fetched: {reason(error)}.") from error
            raise _TransientError(reason(error)) from error
        except HTTPError as error:  # urllib3's, while the body comes
            raise _TransientError("the connection broke") from error
        except ValueError as error:
            raise FetchError(f"{shown(url)} redirects to something that is not an address.") from error

    def _open(
        self, named: requests.Session, public: requests.Session, url: str, headers: dict[str, str]
    ) -> requests.Response:
        """The answer to a GET, after redirects; each hop is checked and signed on its own."""
        for _ in range(MAX_REDIRECTS + 1):
            if not is_http(url):
                raise FetchError(f"{shown(url)} is not http(s).")
            label_studio = self._auth if self._auth is not None and self._auth.is_for(url) else None
            trusted = label_studio is not None or self._hosts.is_named(url)
            signing = label_studio if label_studio is not None and is_signed(url, label_studio.host) else unsigned
            try:
                response = (named if trusted else public).get(
                    url,
                    headers=headers,
                    auth=signing,
                    proxies=None if trusted else NO_PROXIES,
                    stream=True,
                    timeout=TIMEOUT,
                    allow_redirects=False,
                )
            except InvalidIPAddress as error:
                raise FetchError(
                    f"{shown(url)} leads to an address inside a network: name the host in full in ALLOWED_VIDEO_HOSTS "
                    "if videos are to be fetched there."
                ) from error
            if not response.is_redirect:
                return response
            response.close()
            url = urljoin(response.url, response.headers["location"])
        raise FetchError(f"{shown(url)} redirects more than {MAX_REDIRECTS} times.")

    def _check_answer(self, response: requests.Response, url: str) -> None:
        """Raises FetchError or _TransientError for an answer that is no video."""
        status = response.status_code
        label_studio = self._auth is not None and self._auth.is_for(response.url)
        if status == 401 and label_studio and self._auth and self._auth.renew():
            raise _TransientError("Label Studio refuses LABEL_STUDIO_API_KEY (401)")
        if status == 500 and label_studio:
            raise FetchError(f"{shown(url)} does not exist, or Label Studio has a fault: it answers both with 500.")
        if status in RETRIED_STATUSES:
            raise _TransientError(f"the server answers {status}")
        is_page = response.headers.get("content-type", "").startswith("text/html")
        if label_studio and status == 403 and "/data/local-files/" in url:
            raise FetchError(
                f"Label Studio does not serve {shown(url)} (403): it is not there, or local files are not served. If "
                "the file is on this machine, set LOCAL_FILES_ROOT to Label Studio's folder of local files."
            )
        if label_studio and (status in (401, 403) or (is_page and status < 400)):
            raise FetchError(
                f"Label Studio refuses {shown(url)} ({status}): set LABEL_STUDIO_API_KEY to a personal access token of "
                "a user who can see the project; legacy tokens are off by default."
            )
        if status == 404:
            raise FetchError(f"{shown(url)} does not exist (404).")
        if status not in (200, 206):
            raise FetchError(f"{shown(url)} cannot be fetched: the server answers {status}.")
        if is_page:
            raise FetchError(f"{shown(url)} is a web page, not a video.")


class _TransientError(Exception):
    """A download stopped for a reason that may pass."""


def _append_at(response: requests.Response, file: IO[bytes]) -> int | None:
    """Put `file` where the body of `response` belongs; the size of the whole, None when the server does not say."""
    found = re.fullmatch(r"bytes ([0-9]{1,19})-[0-9]+/([0-9]{1,19}|\*)", response.headers.get("content-range", ""))
    if response.status_code == 206:
        if found is None or int(found[1]) != file.tell():
            raise _TransientError("the server sent another part than the one asked for")
        return int(found[2]) if found[2] != "*" else None
    file.seek(0)  # the server sends the whole file from its start
    file.truncate()
    length = response.headers.get("content-length", "")
    known = re.fullmatch("[0-9]{1,19}", length) and "content-encoding" not in response.headers
    return int(length) if known else None
