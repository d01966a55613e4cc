"""The address of a video in a task -> where the video is.

    /data/local-files/?d=a/b.mp4     the file itself, when Label Studio's document root is mounted here
    /data/upload/1/b.mp4, …          through Label Studio, with the token
    s3://, gs://, azure-blob://      through Label Studio's resolver, which knows the bucket's credentials
    http://, https://                at this address; the token goes along to Label Studio's own media paths only

What follows a storage's "://" is a bucket and a key, not a URL: `#` and `%` are plain characters in it. Label Studio
may be below a path of a proxy, which then stands before its paths, and may be known to tasks by another name than to
us.

Asks no server. Knows nothing of the file's content, nor which hosts may be asked.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, unquote_plus, urlsplit, urlunsplit

from omni_timeline.errors import FetchError, printable
from omni_timeline.label_studio.auth import LabelStudioAuth
from omni_timeline.label_studio.values import shortened
from omni_timeline.label_studio.web import shown

STORAGE_SCHEMES = ("s3", "gs", "azure-blob")  # the `url_scheme`s of Label Studio's cloud storages
LOCAL_FILES_PATH = "/data/local-files"
# Label Studio's own paths to a file, below its path of a proxy.
LABEL_STUDIO_PATH = re.compile(
    r"(?P<proxy>(?:/[^/?#]+)*?)(?P<own>/data/upload/.*|/data/local-files/?\?.*|/storage-data/uploaded/.*)", re.DOTALL
)
# The paths that are asked for with the token. All others are asked for without it: the author of a task chooses the
# address, and the token has more rights than the author.
SIGNED_PATHS = re.compile(r"/data/(upload|local-files)/?|/storage-data/|/(tasks|projects)/\d+/(resolve|presign)/?")

# Query parameters that sign a URL: new ones each time for the same file (AWS, Google, Alibaba, Tencent, Huawei, TOS).
SIGNATURE_PREFIXES = ("x-amz-", "x-goog-", "x-oss-", "x-cos-", "x-obs-", "x-tos-", "q-")
# These are taken as such only beside "signature".
SIGNATURE_NAMES = frozenset(
    {
        "signature",
        "expires",
        "awsaccesskeyid",
        "googleaccessid",
        "ossaccesskeyid",
        "accesskeyid",
        "security-token",
        "policy",
        "key-pair-id",
        "hash-algorithm",
    }
)
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
        host: the host or bucket that has the video, for messages.
    """

    address: str
    key: str
    host: str


class Addresses:
    """Finds the local file or the source of a task's video.

    Args:
        auth: Label Studio's address and token; None when neither is set.
        local_files_root: Label Studio's document root for local files, if it is mounted here.
        public_host: the address under which tasks know Label Studio, where that is another than that of `auth`.
    """

    def __init__(
        self, auth: LabelStudioAuth | None, local_files_root: Path | None = None, public_host: str | None = None
    ) -> None:
        self._auth = auth
        self._public = LabelStudioAuth(public_host, None) if public_host else None
        self._root = local_files_root.resolve() if local_files_root else None

    def local_file(self, url: str) -> Path | None:
        """The file behind a local-files URL; None when `url` is not one, or the file is not on this machine.

        Raises:
            FetchError: the URL names something that is not below the document root.
        """
        wanted = self._local_name(url)
        if wanted is None:
            return None
        names = dict.fromkeys((wanted, wanted.replace("\\", "/")))  # a Label Studio on Windows writes \
        if not wanted or "\0" in wanted or any(name.startswith("/") or ".." in name.split("/") for name in names):
            raise FetchError(f"{_quoted(wanted)} does not name a file below Label Studio's local files folder.")
        if self._root is None:
            return None
        for name in names:
            try:
                path = (self._root / name).resolve()  # through symbolic links
                is_file = path.is_file()
            except (OSError, RuntimeError) as error:  # a name too long, a link to itself
                raise FetchError(
                    f"The local file {_quoted(wanted)} cannot be opened: {type(error).__name__}."
                ) from error
            if not path.is_relative_to(self._root):
                raise FetchError(f"The local file {_quoted(wanted)} leads out of LOCAL_FILES_ROOT.")
            if is_file:
                return path
        return None

    def source(self, url: str, task_id: int | None) -> Source:
        """Where to download the video at `url` from.

        Raises:
            FetchError: videos are not downloaded from `url`.
        """
        scheme = _scheme(url)
        if scheme in STORAGE_SCHEMES:
            if task_id is None:
                raise FetchError(f"{_shown(url)} is only available for a task that is stored in Label Studio.")
            encoded = base64.urlsafe_b64encode(url.encode()).decode()
            address = f"{self._host_for(url)}/tasks/{task_id}/resolve/?fileuri={encoded}"
            return Source(address, _digest(url), f"{scheme}://{_bucket_and_key(url)[0]}")
        if (path := self._label_studio_path(url)) is not None:
            address = self._host_for(url) + path
            return Source(address, _cache_key(address), "Label Studio")
        if scheme in ("http", "https"):
            return Source(url, _cache_key(url), urlsplit(url).hostname or "")
        raise FetchError(
            f"{_quoted(_shown(url))} is not an address that videos are fetched from: use an upload, a local-files "
            f"path, http(s), or {', '.join(f'{name}://' for name in STORAGE_SCHEMES)}."
        )

    def _label_studio_path(self, url: str) -> str | None:
        """Label Studio's own path to a file, without that of a proxy; None where `url` is none of Label Studio's."""
        if url.startswith("upload/"):
            url = f"/data/{url}"  # exports write it so
        path, is_absolute = url, False
        for label_studio in (self._auth, self._public):
            if label_studio is not None and is_http(url) and label_studio.is_for(url):
                path = urlunsplit(("", "", *urlsplit(url)[2:])).removeprefix(urlsplit(label_studio.host).path)
                is_absolute = True
                break
        found = None if path.startswith("//") else LABEL_STUDIO_PATH.fullmatch(path)
        if found is None or (is_absolute and found["proxy"]) or ".." in path.split("?")[0].split("/"):
            return None
        return found["own"]

    def _local_name(self, url: str) -> str | None:
        """The path below Label Studio's document root that a local-files URL names; None for other URLs."""
        parts = urlsplit(self._label_studio_path(url) or "")
        if parts.path.rstrip("/") != LOCAL_FILES_PATH:
            return None
        return parse_qs(parts.query).get("d", [""])[0]  # decoded once, as Label Studio does

    def _host_for(self, url: str) -> str:
        if self._auth is None:
            raise FetchError(f"{_shown(url)} is kept by Label Studio: set LABEL_STUDIO_URL (and LABEL_STUDIO_API_KEY).")
        return self._auth.host


def checked(url: str) -> str:
    """The URL of a task without white space around it.

    Raises:
        FetchError: the text is not an address.
    """
    in_storage = _scheme(url.lstrip()) in STORAGE_SCHEMES
    url = url.lstrip() if in_storage else url.strip()  # a key may end in a space
    if not url:
        raise FetchError("The address of the video is empty.")
    if any(ord(character) < 32 or 0xD800 <= ord(character) <= 0xDFFF for character in url):
        raise FetchError(f"{_quoted(_shown(url))} is not a valid address: it has control characters in it.")
    try:
        in_storage or urlsplit(url)
    except ValueError as error:  # its words hold a part of the address
        raise FetchError(f"{_quoted(_shown(url))} is not a valid address.") from error
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
    """The name of the video at a URL, for people: the last part of its path."""
    if _scheme(url) in STORAGE_SCHEMES:
        path = _shown(url)
    else:
        try:
            parts = urlsplit(url)
        except ValueError:
            return shown(url)
        path = parts.path
        if path.rstrip("/").endswith(LOCAL_FILES_PATH):
            path = parse_qs(parts.query).get("d", [""])[0].replace("\\", "/") or path
    name = path.rstrip("/").rpartition("/")[2]
    return shortened(name) or shown(url)


def _quoted(text: str) -> str:
    return f"'{printable(text[:200])}'"


def _scheme(url: str) -> str:
    """The part before "://", in lower case; "" when there is none."""
    scheme, separator, _ = url.partition("://")
    return scheme.lower() if separator else ""


def _bucket_and_key(url: str) -> tuple[str, str]:
    """The bucket and the key of an address in a storage."""
    bucket, _, key = url.partition("://")[2].partition("/")
    return bucket, key


def _shown(url: str) -> str:
    """An address for a message, without parts that may be secret; `#` is a plain character in a storage's key."""
    if _scheme(url) not in STORAGE_SCHEMES:
        return shown(url)
    # Label Studio itself takes what follows a "?" for a query (1.23.2), and it may be a signature.
    return shortened(url.partition("?")[0])


def _cache_key(url: str) -> str:
    """The name of the file for an http(s) address: the same for every signature of it."""
    parts = urlsplit(url)
    query = [(unquote_plus(pair.partition("=")[0]).lower(), pair) for pair in parts.query.split("&") if pair]
    names = {name for name, _ in query}
    signing = SIGNATURE_NAMES if "signature" in names else frozenset()
    signing |= AZURE_NAMES if "sig" in names else frozenset()
    prefixes = SIGNATURE_PREFIXES if any("signature" in name for name in names) else ()
    kept = "&".join(pair for name, pair in query if name not in signing and not name.startswith(prefixes))
    return _digest(urlunsplit((parts.scheme, parts.netloc.lower(), parts.path, kept, "")))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
