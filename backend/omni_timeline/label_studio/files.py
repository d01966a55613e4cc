"""From what a task says about its video to a local file, safely.

    /data/local-files/?d=a/b.mp4     the file itself, when Label Studio's document root is mounted here
    /data/upload/1/b.mp4, …          through Label Studio, with the token
    s3://, gs://, azure-blob://      through Label Studio's resolver, which knows the bucket's credentials
    http://, https://                as it is; the token goes along to Label Studio's own media paths only

Knows nothing of what is in the file, nothing of tokens (`label_studio` signs what goes to Label Studio), and nothing of
networks: `addresses` decides which hosts are asked. Each redirect is decided on anew.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import tempfile
import time
from pathlib import Path
from typing import IO
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urljoin, urlsplit, urlunsplit

import requests
from urllib3.exceptions import HTTPError

from omni_timeline.errors import FetchError, UnreachableError
from omni_timeline.label_studio.auth import TIMEOUT, LabelStudioAuth, reason, unsigned
from omni_timeline.label_studio.hosts import NO_PROXIES, AllowedHosts, InvalidIPAddress, session

STORAGE_SCHEMES = ("s3", "gs", "azure-blob")  # the `url_scheme`s of Label Studio's cloud storages
LABEL_STUDIO_PATHS = ("/data/upload/", "/data/local-files/", "/data/local-files?", "/storage-data/uploaded/")
# What is asked of Label Studio with the token. Anything else there is asked as a stranger would: the address is the
# task author's, and the token can do more than he may.
SIGNED_PATHS = re.compile(r"/data/(upload|local-files)/?|/storage-data/|/(tasks|projects)/\d+/(resolve|presign)/?")

DOWNLOAD_SECONDS = 900.0  # s: a server that drips a byte now and then is left
ATTEMPTS = 4  # in a row without a new byte
RETRY_PAUSE = 0.5  # s: before the second attempt; doubles
MAX_REDIRECTS = 5
CHUNK_BYTES = 64 * 1024
PARTIAL_PREFIX = "part-"  # of a file that is still being fetched; keys are hexadecimal
CACHE_SECONDS = 24 * 3600.0  # s: after this the video is fetched again, since it may have been replaced
RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})

# PredictOptions parameters that sign a URL: new ones each time for the same file (AWS, Google, CloudFront).
SIGNATURE_PREFIXES = ("x-amz-", "x-goog-")
SIGNATURE_NAMES = frozenset({"signature", "expires", "awsaccesskeyid", "googleaccessid", "policy", "key-pair-id"})
# Azure's are short, and are taken as such only beside "sig".
AZURE_NAMES = frozenset(
    {"sig", "sv", "ss", "srt", "sr", "se", "st", "sp", "spr", "sip", "skoid", "sktid", "skt", "ske", "sks", "skv"}
)


class Fetcher:
    """Brings tasks' videos to this machine, and keeps the last ones.

    Args:
        host: where Label Studio is reached; None when there is none.
        api_key: the token for it; goes to `host` only.
        cache_dir: the folder for fetched videos; made when needed.
        local_files_root: Label Studio's document root for local files, if it is mounted here.
        hosts: where else videos may be; nowhere when None.
        max_bytes: a larger video is refused.
        cache_bytes: how much is kept in the folder.
    """

    def __init__(
        self,
        host: str | None,
        api_key: str | None,
        cache_dir: Path,
        local_files_root: Path | None = None,
        *,
        hosts: AllowedHosts | None = None,
        max_bytes: int = 4 * 1024**3,
        cache_bytes: int = 20 * 1024**3,
    ) -> None:
        # Its warnings about odd answers hold whole addresses, which may be signed.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        self._auth = LabelStudioAuth(host, api_key) if host else None
        self._cache_dir = cache_dir
        self._local_files_root = local_files_root.resolve() if local_files_root else None
        self._hosts = hosts or AllowedHosts()
        self._max_bytes = max_bytes
        self._cache_bytes = cache_bytes

    def local_path(self, url: str, *, task_id: int | None = None) -> Path:
        """A local file with the video that `url` in a task's data stands for.

        The file is for reading only and may be gone later: the cache makes room for others.

        Args:
            url: as it stands in the task.
            task_id: the task's number; cloud storage needs it.

        Raises:
            FetchError: one sentence on what cannot be had and what to change.
        """
        url = url.strip()
        if not url or any(ord(character) < 32 for character in url):
            raise FetchError(f"{url!r} is not the address of a video.")
        try:
            urlsplit(url)
        except ValueError as error:
            raise FetchError(f"{url!r} is not an address: {error}.") from error
        local = self._local_file(url)
        if local is not None:
            return local
        source = self._source(url, task_id)
        return self._cached(source, _cache_key(url if _scheme(url) in STORAGE_SCHEMES else source))

    def _local_file(self, url: str) -> Path | None:
        """The file behind a local-files URL; None when `url` is not one, or the file is not here."""
        parts = urlsplit(url)
        base = ""
        if parts.scheme or parts.netloc:
            if self._auth is None or not self._auth.is_for(url):
                return None
            base = urlsplit(self._auth.host).path
        if parts.path.rstrip("/") != f"{base}/data/local-files":
            return None
        wanted = parse_qs(parts.query).get("d", [""])[0]  # decoded once, as Label Studio does
        if not wanted or "\0" in wanted or "\\" in wanted or wanted.startswith("/") or ".." in wanted.split("/"):
            raise FetchError(
                f"{_shown(url)}?d={wanted!r} does not name a file below Label Studio's local files folder."
            )
        if self._local_files_root is None:
            return None
        try:
            path = (self._local_files_root / wanted).resolve()  # through symbolic links
            is_file = path.is_file()
        except (OSError, RuntimeError) as error:  # a name too long, a link to itself
            raise FetchError(f"{_shown(url)}?d={wanted!r} cannot be a file: {type(error).__name__}.") from error
        if not path.is_relative_to(self._local_files_root):
            raise FetchError(f"{_shown(url)}?d={wanted!r} leads out of LOCAL_FILES_ROOT.")
        return path if is_file else None

    def _source(self, url: str, task_id: int | None) -> str:
        """The http(s) address to ask for `url`."""
        scheme = _scheme(url)
        if scheme in ("http", "https"):
            return url
        if scheme in STORAGE_SCHEMES:
            if task_id is None:
                raise FetchError(f"{_shown(url)} can only be had for a task that is stored in Label Studio.")
            encoded = base64.urlsafe_b64encode(url.encode()).decode()
            return f"{self._host_for(url)}/tasks/{task_id}/resolve/?fileuri={encoded}"
        if url.startswith("upload/"):
            url = f"/data/{url}"  # exports write it so
        if url.startswith(LABEL_STUDIO_PATHS) and ".." not in url.split("?")[0].split("/"):
            return self._host_for(url) + url
        raise FetchError(
            f"{_shown(url)!r} is not an address that videos are fetched from: use an upload, a local-files path, "
            f"http(s), or {', '.join(f'{name}://' for name in STORAGE_SCHEMES)}."
        )

    def _host_for(self, url: str) -> str:
        if self._auth is None:
            raise FetchError(f"{_shown(url)} is kept by Label Studio: set LABEL_STUDIO_URL (and LABEL_STUDIO_API_KEY).")
        return self._auth.host

    def _cached(self, source: str, key: str) -> Path:
        """The file for `key` in the cache, downloaded from `source` unless it is there."""
        path = self._cache_dir / key
        try:
            self._cache_dir.mkdir(parents=True, exist_ok=True)
            if _used_now(path):
                return path
            descriptor, partial = tempfile.mkstemp(dir=self._cache_dir, prefix=PARTIAL_PREFIX)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            with os.fdopen(descriptor, "wb") as file:
                self._download(source, file)
            Path(partial).replace(path)  # whole or not at all: a truncated file never has the key's name
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            Path(partial).unlink(missing_ok=True)
        self._make_room(keep=path)
        return path

    def _unwritable(self, error: OSError) -> FetchError:
        return FetchError(f"CACHE_DIR cannot be written: {error.strerror}.")

    def _make_room(self, keep: Path) -> None:
        """Remove the files used longest ago until the folder fits its limit, and what a killed process left."""
        files = []
        for path in self._cache_dir.iterdir():
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # another thread made room
            if not path.name.startswith(PARTIAL_PREFIX):
                files.append((status.st_atime, status.st_size, path))
            elif time.time() - status.st_mtime > DOWNLOAD_SECONDS:
                path.unlink(missing_ok=True)
        excess = sum(size for _, size, _ in files) - self._cache_bytes
        for _, size, path in sorted(files):
            if excess <= 0:
                break
            if path != keep:
                path.unlink(missing_ok=True)
                excess -= size

    def _download(self, url: str, file: IO[bytes]) -> None:
        """Write what is at `url` into `file`, going on where a connection broke."""
        deadline = time.monotonic() + DOWNLOAD_SECONDS
        failures = 0
        with session(public_only=False) as named, session(public_only=True) as public:
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
                    raise UnreachableError(f"{_shown(url)} could not be fetched: {trouble}.")
                if failures:
                    time.sleep(RETRY_PAUSE * 2 ** (failures - 1))
        if file.tell() == 0:
            raise FetchError(f"{_shown(url)} is empty.")

    def _receive(
        self, named: requests.Session, public: requests.Session, url: str, file: IO[bytes], deadline: float
    ) -> int | None:
        """One request's worth of `url` appended to `file`; the size of the whole, None when the server does not say.

        Raises:
            _TransientError: it may go better next time.
            FetchError: it will not.
        """
        # Label Studio cuts what it streams from a bucket after 20 s, and ranges to 8 MiB (1.23.2).
        resumed = {"Range": f"bytes={file.tell()}-"} if file.tell() else {}
        headers = {"Accept-Encoding": "identity", **resumed}  # lengths are those of the file
        try:
            with self._open(named, public, url, headers) as response:
                self._check_answer(response, url)
                total = _append_at(response, file)
                if total is not None and total > self._max_bytes:
                    raise FetchError(f"{_shown(url)} has {total} bytes, more than MAX_VIDEO_BYTES ({self._max_bytes}).")
                # As it comes, not gathered to whole chunks: a byte now and then must not outlast the deadline.
                while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
                    file.write(chunk)
                    if file.tell() > self._max_bytes:
                        raise FetchError(f"{_shown(url)} is larger than MAX_VIDEO_BYTES ({self._max_bytes}).")
                    if time.monotonic() > deadline:
                        raise FetchError(f"{_shown(url)} took longer than {DOWNLOAD_SECONDS:.0f} s.")
                return total
        except requests.RequestException as error:
            if isinstance(error, ValueError):  # requests' classes for an address or an answer that is none
                raise FetchError(f"{_shown(url)} cannot be fetched: {reason(error)}.") from error
            raise _TransientError(reason(error)) from error
        except HTTPError as error:  # urllib3's, while the body comes
            raise _TransientError("the connection broke") from error
        except ValueError as error:
            raise FetchError(f"{_shown(url)} redirects to something that is not an address.") from error

    def _open(
        self, named: requests.Session, public: requests.Session, url: str, headers: dict[str, str]
    ) -> requests.Response:
        """The answer to a GET, after redirects; each hop is checked and signed on its own."""
        for _ in range(MAX_REDIRECTS + 1):
            _check_scheme(url)
            is_label_studio = self._auth is not None and self._auth.is_for(url)
            trusted = is_label_studio or self._hosts.is_named(url)
            try:
                response = (named if trusted else public).get(
                    url,
                    headers=headers,
                    # An explicit one keeps ~/.netrc and a password in the address out.
                    auth=self._auth
                    if is_label_studio and self._auth and _is_signed(url, self._auth.host)
                    else unsigned,
                    proxies=None if trusted else NO_PROXIES,
                    stream=True,
                    timeout=TIMEOUT,
                    allow_redirects=False,
                )
            except InvalidIPAddress as error:
                raise FetchError(
                    f"{_shown(url)} leads to an address inside a network: name the host in full in ALLOWED_VIDEO_HOSTS "
                    "if videos are to be fetched there."
                ) from error
            if not response.is_redirect:
                return response
            response.close()
            url = urljoin(response.url, response.headers["location"])
        raise FetchError(f"{_shown(url)} redirects more than {MAX_REDIRECTS} times.")

    def _check_answer(self, response: requests.Response, url: str) -> None:
        status = response.status_code
        label_studio = self._auth is not None and self._auth.is_for(response.url)
        if status == 401 and label_studio and self._auth and self._auth.renew():
            raise _TransientError("Label Studio refuses LABEL_STUDIO_API_KEY (401)")
        if status == 500 and label_studio:
            raise FetchError(f"{_shown(url)} does not exist, or Label Studio has a fault: it answers both with 500.")
        if status in RETRIED_STATUSES:
            raise _TransientError(f"the server answers {status}")
        is_page = response.headers.get("content-type", "").startswith("text/html")
        if label_studio and (status in (401, 403) or (is_page and status < 400)):
            raise FetchError(
                f"Label Studio does not hand out {_shown(url)} ({status}): set LABEL_STUDIO_API_KEY to a personal "
                "access token of a user who can see the project; legacy tokens are off by default."
            )
        if status == 404:
            raise FetchError(f"{_shown(url)} does not exist (404).")
        if status not in (200, 206):
            raise FetchError(f"{_shown(url)} cannot be had: the server answers {status}.")
        if is_page:
            raise FetchError(f"{_shown(url)} is a web page, not a video.")


def _used_now(path: Path) -> bool:
    """Whether a fetched file is there and not too old; notes that it is used."""
    try:
        fetched_at = path.stat().st_mtime
        if time.time() - fetched_at > CACHE_SECONDS:
            return False
        os.utime(path, (time.time(), fetched_at))
    except FileNotFoundError:  # never fetched, or removed at this moment
        return False
    return True


class _TransientError(Exception):
    """A download stopped for a reason that may pass."""


def _append_at(response: requests.Response, file: IO[bytes]) -> int | None:
    """Put `file` where the body of `response` belongs; the size of the whole, None when the server does not say."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("content-range", ""))
    if response.status_code == 206:
        if found is None or int(found[1]) != file.tell():
            raise _TransientError("the server sent another part than the one asked for")
        return int(found[2]) if found[2] != "*" else None
    file.seek(0)  # the whole from the start, whatever was asked for
    file.truncate()
    length = response.headers.get("content-length", "")
    return int(length) if length.isdigit() and "content-encoding" not in response.headers else None


def _check_scheme(url: str) -> None:
    if _scheme(url) not in ("http", "https"):
        raise FetchError(f"{_shown(url)} is not http(s).")


def _is_signed(url: str, host: str) -> bool:
    """Whether the token goes along to this address of Label Studio, which is reached at `host`."""
    path, decoded = "", urlsplit(url).path
    while path != decoded:  # however often it was encoded
        path, decoded = decoded, unquote(decoded)
    if "\\" in path or ".." in path.split("/"):
        return False
    return SIGNED_PATHS.match(path.removeprefix(urlsplit(host).path)) is not None


def _scheme(url: str) -> str:
    """What stands before "://", in lower case; "" when nothing does."""
    scheme, separator, _ = url.partition("://")
    return scheme.lower() if separator else ""


def _shown(url: str) -> str:
    """`url` for a message: without user, password, query and fragment, which may be secret."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _cache_key(url: str) -> str:
    """The name of the file for `url`: the same for every signature of the same address."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    names = {name.lower() for name, _ in query}
    signing = SIGNATURE_NAMES if "signature" in names else frozenset()
    signing |= AZURE_NAMES if "sig" in names else frozenset()
    kept = [
        (name, value)
        for name, value in query
        if name.lower() not in signing and not name.lower().startswith(SIGNATURE_PREFIXES)
    ]
    unsigned = urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(kept), ""))
    return hashlib.sha256(unsigned.encode()).hexdigest()
