"""What a task says about its video -> where the video is.

    /data/local-files/?d=a/b.mp4     the file itself, when Label Studio's document root is mounted here
    /data/upload/1/b.mp4, …          through Label Studio, with the token
    s3://, gs://, azure-blob://      through Label Studio's resolver, which knows the bucket's credentials
    http://, https://                at this address; the token goes along to Label Studio's own media paths only

Asks no server. Knows nothing of what is in the file, nor which hosts may be asked.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from omni_timeline.errors import FetchError
from omni_timeline.label_studio.auth import LabelStudioAuth
from omni_timeline.label_studio.values import printable, shortened
from omni_timeline.label_studio.web import shown

STORAGE_SCHEMES = ("s3", "gs", "azure-blob")  # the `url_scheme`s of Label Studio's cloud storages
LABEL_STUDIO_PATHS = ("/data/upload/", "/data/local-files/", "/data/local-files?", "/storage-data/uploaded/")
# What is asked of Label Studio with the token. Everything else there is asked without: the address is the task author's
# choice, and the token can do more than he may.
SIGNED_PATHS = re.compile(r"/data/(upload|local-files)/?|/storage-data/|/(tasks|projects)/\d+/(resolve|presign)/?")

# Query parameters that sign a URL: new ones each time for the same file (AWS, Google, CloudFront).
SIGNATURE_PREFIXES = ("x-amz-", "x-goog-")
SIGNATURE_NAMES = frozenset({"signature", "expires", "awsaccesskeyid", "googleaccessid", "policy", "key-pair-id"})
# Azure's are short, and are taken as such only beside "sig".
AZURE_NAMES = frozenset(
    {"sig", "sv", "ss", "srt", "sr", "se", "st", "sp", "spr", "sip", "skoid", "sktid", "skt", "ske", "sks", "skv"}
)


@dataclass(frozen=True)
class Source:
    """Where a video is downloaded from.

    Attributes:
        address: the http(s) address to ask.
        key: names the file; the same for every signature of one address.
        host: who has the video, for people: a host, or a bucket that Label Studio knows.
    """

    address: str
    key: str
    host: str


class Addresses:
    """Finds the local file or the source of a task's video.

    Args:
        auth: Label Studio's address and token; None when there is none.
        local_files_root: Label Studio's document root for local files, if it is mounted here.
    """

    def __init__(self, auth: LabelStudioAuth | None, local_files_root: Path | None = None) -> None:
        self._auth = auth
        self._root = local_files_root.resolve() if local_files_root else None

    def local_file(self, url: str) -> Path | None:
        """The file behind a local-files URL; None when `url` is not one, or the file is not here.

        Raises:
            FetchError: the URL names something that is not below the document root.
        """
        wanted = self._local_name(url)
        if wanted is None:
            return None
        if not wanted or "\0" in wanted or "\\" in wanted or wanted.startswith("/") or ".." in wanted.split("/"):
            raise FetchError(f"{_quoted(wanted)} does not name a file below Label Studio's local files folder.")
        if self._root is None:
            return None
        try:
            path = (self._root / wanted).resolve()  # through symbolic links
            is_file = path.is_file()
        except (OSError, RuntimeError) as error:  # a name too long, a link to itself
            raise FetchError(f"The local file {_quoted(wanted)} cannot be opened: {type(error).__name__}.") from error
        if not path.is_relative_to(self._root):
            raise FetchError(f"The local file {_quoted(wanted)} leads out of LOCAL_FILES_ROOT.")
        return path if is_file else None

    def source(self, url: str, task_id: int | None) -> Source:
        """Where to download the video at `url` from.

        Raises:
            FetchError: it is not at an address that videos are downloaded from.
        """
        scheme = _scheme(url)
        if scheme in ("http", "https"):
            return Source(url, _cache_key(url), urlsplit(url).hostname or "")
        if scheme in STORAGE_SCHEMES:
            if task_id is None:
                raise FetchError(f"{shown(url)} is only available for a task that is stored in Label Studio.")
            encoded = base64.urlsafe_b64encode(url.encode()).decode()
            address = f"{self._host_for(url)}/tasks/{task_id}/resolve/?fileuri={encoded}"
            return Source(address, _cache_key(url), f"{scheme}://{urlsplit(url).netloc}")
        if url.startswith("upload/"):
            url = f"/data/{url}"  # exports write it so
        if url.startswith(LABEL_STUDIO_PATHS) and ".." not in url.split("?")[0].split("/"):
            address = self._host_for(url) + url
            return Source(address, _cache_key(address), "Label Studio")
        raise FetchError(
            f"{_quoted(shown(url))} is not an address that videos are fetched from: use an upload, a local-files path, "
            f"http(s), or {', '.join(f'{name}://' for name in STORAGE_SCHEMES)}."
        )

    def _local_name(self, url: str) -> str | None:
        """The path below Label Studio's document root that a local-files URL names; None for other URLs."""
        parts = urlsplit(url)
        base = ""
        if parts.scheme or parts.netloc:
            if self._auth is None or not self._auth.is_for(url):
                return None
            base = urlsplit(self._auth.host).path
        if parts.path.rstrip("/") != f"{base}/data/local-files":
            return None
        return parse_qs(parts.query).get("d", [""])[0]  # decoded once, as Label Studio does

    def _host_for(self, url: str) -> str:
        if self._auth is None:
            raise FetchError(f"{shown(url)} is kept by Label Studio: set LABEL_STUDIO_URL (and LABEL_STUDIO_API_KEY).")
        return self._auth.host


def checked(url: str) -> str:
    """The URL of a task without white space around it.

    Raises:
        FetchError: it is no address at all.
    """
    url = url.strip()
    if not url:
        raise FetchError("The address of the video is empty.")
    if any(ord(character) < 32 or 0xD800 <= ord(character) <= 0xDFFF for character in url):
        raise FetchError(f"{_quoted(shown(url))} is not a valid address: it has control characters in it.")
    try:
        urlsplit(url)
    except ValueError as error:  # its words hold a part of the address
        raise FetchError(f"{_quoted(shown(url))} is not a valid address.") from error
    return url


def is_signed(url: str, host: str) -> bool:
    """Whether the token goes along to this address of Label Studio, which is reached at `host`."""
    path, decoded = "", urlsplit(url).path
    while path != decoded:  # however often it was encoded
        path, decoded = decoded, unquote(decoded)
    if "\\" in path or ".." in path.split("/"):
        return False
    return SIGNED_PATHS.match(path.removeprefix(urlsplit(host).path)) is not None


def is_http(url: str) -> bool:
    """Whether `url` is an http or https address."""
    return _scheme(url) in ("http", "https")


def video_name(url: str) -> str:
    """What a person calls the video at a URL: the last part of its path."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return shown(url)
    path = parts.path
    if path.rstrip("/").endswith("/data/local-files"):
        path = parse_qs(parts.query).get("d", [""])[0] or path
    name = path.rstrip("/").rpartition("/")[2]
    return shortened(name) or shown(url)


def _quoted(text: str) -> str:
    return f"'{printable(text[:200])}'"


def _scheme(url: str) -> str:
    """What stands before "://", in lower case; "" when nothing does."""
    scheme, separator, _ = url.partition("://")
    return scheme.lower() if separator else ""


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
