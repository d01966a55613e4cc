"""From a task's URL to a local file, against a real HTTP server that misbehaves on purpose."""

from __future__ import annotations

import base64
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from omni_timeline.errors import FetchError
from omni_timeline.label_studio.auth import LabelStudioAuth
from omni_timeline.label_studio.files import Fetcher
from omni_timeline.label_studio.hosts import AllowedHosts

KIB = 1024
VIDEO = random.Random(1).randbytes(640 * KIB)  # so that a part in the wrong place shows
UPLOAD = "/data/upload/1/8abf8b6a-clip.mp4"
HERE = AllowedHosts(["127.0.0.1"])  # where the tests' sites are
LEGACY_TOKEN = "0123456789abcdef0123456789abcdef01234567"


def jwt(**claims: object) -> str:
    return ".".join(["e30", base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("="), "signature"])


PERSONAL_TOKEN = jwt(token_type="refresh", exp=7984870553)


@dataclass
class Site:
    """A web site of which each path is answered by a function; keeps what it was asked."""

    pages: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)  # path, Authorization, Range
    url: str = ""

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]


@pytest.fixture
def make_site() -> Iterator[Callable[[], Site]]:
    servers = []

    def make() -> Site:
        site = Site()

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append((self.path, self.headers["Authorization"], self.headers["Range"]))
                page = site.pages.get(self.path) or site.pages.get(self.path.split("?")[0])
                page(self) if page else answer(self, b"", status=404)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        site.url = f"http://127.0.0.1:{server.server_port}"
        return site

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def label_studio(make_site: Callable[[], Site]) -> Site:
    site = make_site()
    site.pages[UPLOAD] = video
    return site


def answer(page: BaseHTTPRequestHandler, body: bytes, *, status: int = 200, **headers: object) -> None:
    page.send_response(status)
    for name, value in ({"Content_Length": len(body)} | headers).items():
        page.send_header(name.replace("_", "-"), str(value))
    page.end_headers()
    page.wfile.write(body)


def video(page: BaseHTTPRequestHandler) -> None:
    answer(page, VIDEO, Content_Type="video/mp4")


def redirect_to(url: str) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda page: answer(page, b"", status=302, Location=url)


def cached(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


# --- local files -----------------------------------------------------------------------------------------------------
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
    fetcher = Fetcher("http://label-studio:8080", None, tmp_path / "cache", root)
    assert fetcher.local_path(url) == root / "videos" / "a b.mp4"
    assert cached(tmp_path / "cache") == []


@pytest.mark.parametrize(
    "path",
    [
        "../secret.mp4",
        "videos/../../secret.mp4",
        "%2e%2e/secret.mp4",
        "..%2Fsecret.mp4",
        "/etc/passwd",
        "%2Fetc/passwd",
        "..\\secret.mp4",
        "videos/a%20b.mp4%00.txt",
        "link.mp4",  # a symbolic link to ../secret.mp4
        "folder/secret.mp4",  # in a symbolic link to the folder above
        "",
    ],
)
@pytest.mark.parametrize("host", ["", "http://label-studio:8080"])
def test_a_local_files_path_cannot_leave_the_document_root(path: str, host: str, root: Path, tmp_path: Path):
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "folder").symlink_to(tmp_path)
    fetcher = Fetcher("http://label-studio:8080", None, tmp_path / "cache", root)
    with pytest.raises(FetchError):
        fetcher.local_path(f"{host}/data/local-files/?d={path}")


def test_a_link_within_the_document_root_is_followed(root: Path, tmp_path: Path):
    (root / "link.mp4").symlink_to("videos/a b.mp4")
    fetcher = Fetcher(None, None, tmp_path / "cache", root)
    assert fetcher.local_path("/data/local-files/?d=link.mp4").read_bytes() == VIDEO


def test_a_local_file_that_is_not_mounted_comes_through_label_studio(label_studio: Site, tmp_path: Path):
    label_studio.pages["/data/local-files/?d=videos/x.mp4"] = video
    fetcher = Fetcher(label_studio.url, LEGACY_TOKEN, tmp_path)
    assert fetcher.local_path("/data/local-files/?d=videos/x.mp4").read_bytes() == VIDEO
    assert label_studio.asked == [("/data/local-files/?d=videos/x.mp4", f"Token {LEGACY_TOKEN}", None)]


# --- addresses that are not asked ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "url",
    [
        "/etc/passwd",
        "etc/passwd",
        "videos/x.mp4",
        "/data/upload/../../api/users",
        "/api/users",
        "file:///etc/passwd",
        "ftp://example.org/x.mp4",
        "data:video/mp4;base64,AAAA",
        "concat:a.mp4|b.mp4",
        "//example.org/x.mp4",
        "http://",
        "http://[::1",
        "x\0.mp4",
        "",
        " ",
    ],
)
def test_only_known_kinds_of_addresses_are_asked(url: str, label_studio: Site, tmp_path: Path):
    with pytest.raises(FetchError):
        Fetcher(label_studio.url, None, tmp_path).local_path(url)
    assert label_studio.asked == []


def test_without_label_studios_address_the_error_says_which_variable_is_missing(tmp_path: Path):
    with pytest.raises(FetchError, match="LABEL_STUDIO_URL"):
        Fetcher(None, None, tmp_path).local_path(UPLOAD)


def test_a_redirect_to_a_local_file_is_refused(label_studio: Site, tmp_path: Path):
    label_studio.pages["/x.mp4"] = redirect_to("file:///etc/passwd")
    with pytest.raises(FetchError, match=r"not http\(s\)"):
        Fetcher(None, None, tmp_path, hosts=HERE).local_path(f"{label_studio.url}/x.mp4")


def test_redirects_that_do_not_end_are_given_up(label_studio: Site, tmp_path: Path):
    label_studio.pages["/x.mp4"] = redirect_to("/x.mp4")
    with pytest.raises(FetchError, match="redirects more than"):
        Fetcher(None, None, tmp_path, hosts=HERE).local_path(f"{label_studio.url}/x.mp4")


# --- tokens ----------------------------------------------------------------------------------------------------------
def gives_access_tokens(site: Site, lifetime: float = 300.0) -> list[str]:
    """Let `site` exchange the personal token, as Label Studio does; the list of what it gave."""
    given: list[str] = []

    def exchange(page: BaseHTTPRequestHandler) -> None:
        body = json.loads(page.rfile.read(int(page.headers["Content-Length"])))
        if body != {"refresh": PERSONAL_TOKEN}:
            answer(page, b"{}", status=401)
            return
        given.append(jwt(token_type="access", iat=1000, exp=1000 + lifetime, jti=len(given)))
        answer(page, json.dumps({"access": given[-1]}).encode(), Content_Type="application/json")

    site.pages["/api/token/refresh"] = exchange
    return given


def test_a_personal_access_token_is_exchanged_once_and_the_access_token_used(label_studio: Site, tmp_path: Path):
    given = gives_access_tokens(label_studio)
    label_studio.pages["/data/upload/1/other.mp4"] = video
    fetcher = Fetcher(label_studio.url, PERSONAL_TOKEN, tmp_path)
    fetcher.local_path(UPLOAD)
    fetcher.local_path("/data/upload/1/other.mp4")
    assert label_studio.asked == [
        ("/api/token/refresh", None, None),
        (UPLOAD, f"Bearer {given[0]}", None),
        ("/data/upload/1/other.mp4", f"Bearer {given[0]}", None),
    ]


def test_an_access_token_is_renewed_before_it_expires(label_studio: Site, tmp_path: Path):
    given = gives_access_tokens(label_studio, lifetime=0.0)
    label_studio.pages["/data/upload/1/other.mp4"] = video
    fetcher = Fetcher(label_studio.url, PERSONAL_TOKEN, tmp_path)
    fetcher.local_path(UPLOAD)
    fetcher.local_path("/data/upload/1/other.mp4")
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
    assert Fetcher(label_studio.url, PERSONAL_TOKEN, tmp_path).local_path(UPLOAD).read_bytes() == VIDEO
    assert len(given) == 2


@pytest.mark.parametrize("token", [LEGACY_TOKEN, jwt(token_type="refresh", jti="revoked"), None])
def test_a_token_that_is_refused_is_an_error_that_names_the_variable_and_not_the_token(
    token: str | None, label_studio: Site, tmp_path: Path
):
    gives_access_tokens(label_studio)
    label_studio.pages[UPLOAD] = lambda page: answer(page, b'{"detail": "no"}', status=401)
    with pytest.raises(FetchError, match="LABEL_STUDIO_API_KEY") as refusal:
        Fetcher(label_studio.url, token, tmp_path).local_path(UPLOAD)
    assert token is None or token not in str(refusal.value)


def test_a_login_page_in_place_of_the_video_is_not_taken_for_one(label_studio: Site, tmp_path: Path):
    """The SDK's get_local_path keeps it as an .mp4."""
    label_studio.pages[UPLOAD] = redirect_to("/user/login/")
    label_studio.pages["/user/login/"] = lambda page: answer(page, b"<html>", Content_Type="text/html; charset=utf-8")
    with pytest.raises(FetchError, match="LABEL_STUDIO_API_KEY"):
        Fetcher(label_studio.url, None, tmp_path).local_path(UPLOAD)
    assert cached(tmp_path) == []


@pytest.mark.parametrize("token", [LEGACY_TOKEN, PERSONAL_TOKEN])
def test_the_token_goes_to_label_studio_and_nowhere_else(
    token: str, label_studio: Site, make_site: Callable[[], Site], tmp_path: Path
):
    gives_access_tokens(label_studio)
    bucket = make_site()
    bucket.pages["/signed"] = video
    bucket.pages["/x.mp4"] = video
    label_studio.pages["/tasks/7/resolve/"] = redirect_to(f"{bucket.url}/signed?X-Amz-Signature=abc")
    fetcher = Fetcher(label_studio.url, token, tmp_path, hosts=HERE)
    fetcher.local_path("s3://bucket/x.mp4", task_id=7)
    fetcher.local_path(f"{bucket.url}/x.mp4")
    assert [authorization for _, authorization, _ in bucket.asked] == [None, None]
    assert [authorization is not None for path, authorization, _ in label_studio.asked if "/tasks/" in path] == [True]


def test_an_address_that_only_looks_like_label_studio_gets_no_token(
    label_studio: Site, make_site: Callable[[], Site], tmp_path: Path
):
    """urllib reads `http://evil\\@label-studio/` as label-studio, the library that connects reads it as evil."""
    evil = make_site()
    host = label_studio.url.removeprefix("http://")
    fetcher = Fetcher(label_studio.url, LEGACY_TOKEN, tmp_path, hosts=HERE)
    for url in (f"{evil.url}\\@{host}/x.mp4", f"http://{host}@{evil.url.removeprefix('http://')}/x.mp4"):
        with pytest.raises(FetchError):
            fetcher.local_path(url)
    assert [authorization for _, authorization, _ in evil.asked] == [None, None]
    assert label_studio.asked == []


def test_only_scheme_host_and_port_together_are_label_studio():
    auth = LabelStudioAuth("https://ls.example.org/base", LEGACY_TOKEN)
    assert auth.is_for("https://LS.example.org:443/data/upload/x")
    for url in ("http://ls.example.org/x", "https://ls.example.org:444/x", "https://ls.example.org.evil/x", "http://["):
        assert not auth.is_for(url)


# --- hosts -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def look_up(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let names lead where a test says, one address after the other; the list of what was connected to."""

    def use(**addresses: list[str]) -> list[str]:
        connected: list[str] = []
        answers = {name.replace("_", "."): iter(given) for name, given in addresses.items()}

        def getaddrinfo(host: str, port: int | None, *_: object, **__: object) -> list[object]:
            if host not in answers:
                return real_lookup(host, port, *_, **__)
            address = next(answers[host])
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            return [(family, socket.SOCK_STREAM, 6, "", (address, port or 0))]

        def create_connection(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
            connected.append(address[0])
            raise OSError("the test goes no further")

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr("urllib3.util.connection.create_connection", create_connection)
        monkeypatch.setattr("omni_timeline.label_studio.files.RETRY_PAUSE", 0.0)
        return connected

    real_lookup = socket.getaddrinfo
    return use


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.3.4",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::a00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fec0::1]",
        "localhost",
    ],
)
def test_an_address_inside_a_network_is_not_public(host: str, look_up: Callable[..., list[str]], tmp_path: Path):
    connected = look_up()
    with pytest.raises(FetchError):
        Fetcher(None, None, tmp_path, hosts=AllowedHosts(public=True)).local_path(f"http://{host}/x.mp4")
    assert connected == []


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.1.2.3", "::ffff:10.1.2.3", "::1"])
@pytest.mark.parametrize("hosts", [AllowedHosts(public=True), AllowedHosts(["*.example.org"])])
def test_a_name_that_leads_inside_is_refused(
    address: str, hosts: AllowedHosts, look_up: Callable[..., list[str]], tmp_path: Path
):
    connected = look_up(cdn_example_org=[address])
    with pytest.raises(FetchError, match="inside a network"):
        Fetcher(None, None, tmp_path, hosts=hosts).local_path("http://cdn.example.org/x.mp4")
    assert connected == []


def test_what_was_looked_up_is_what_is_connected_to(look_up: Callable[..., list[str]], tmp_path: Path):
    """DNS rebinding: public for the check, loopback for the connection."""
    connected = look_up(cdn_example_org=["93.184.215.14", "127.0.0.1", "127.0.0.1"])
    with pytest.raises(FetchError, match="inside a network"):  # when it is asked again
        Fetcher(None, None, tmp_path, hosts=AllowedHosts(public=True)).local_path("http://cdn.example.org/x.mp4")
    assert connected == ["93.184.215.14"]


def test_a_proxy_from_the_environment_does_not_look_up_public_names(
    look_up: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("HTTP_PROXY", "http://10.0.0.9:3128")
    monkeypatch.setenv("ALL_PROXY", "http://10.0.0.9:3128")
    connected = look_up(cdn_example_org=["93.184.215.14"] * 4)
    with pytest.raises(FetchError, match="no connection"):
        Fetcher(None, None, tmp_path, hosts=AllowedHosts(public=True)).local_path("http://cdn.example.org/x.mp4")
    assert set(connected) == {"93.184.215.14"}


@pytest.mark.parametrize(
    ("entry", "url", "allowed"),
    [
        ("cdn.example.org", "https://cdn.example.org/x.mp4", True),
        ("cdn.example.org", "https://CDN.example.org.:8443/x.mp4", True),
        ("cdn.example.org:8443", "https://cdn.example.org:8443/x.mp4", True),
        ("cdn.example.org:8443", "https://cdn.example.org/x.mp4", False),
        ("cdn.example.org:443", "https://cdn.example.org/x.mp4", True),
        ("cdn.example.org", "https://evil-cdn.example.org/x.mp4", False),
        ("cdn.example.org", "https://cdn.example.org.evil.net/x.mp4", False),
        ("cdn.example.org", "https://cdn.example.org@evil.net/x.mp4", False),
        ("*.example.org", "https://a.b.example.org/x.mp4", True),
        ("*.example.org:8443", "https://a.example.org/x.mp4", False),
        ("*.example.org", "https://example.org/x.mp4", False),
        ("*.example.org", "https://badexample.org/x.mp4", False),
        ("[::1]:9000", "http://[::1]:9000/x.mp4", True),
    ],
)
def test_a_listed_host_is_that_host_and_no_other(
    entry: str, url: str, allowed: bool, look_up: Callable[..., list[str]], tmp_path: Path
):
    names = {"cdn_example_org": ["93.184.215.14"] * 9, "a_b_example_org": ["93.184.215.14"] * 9}
    connected = look_up(**names)
    with pytest.raises(FetchError, match="no connection" if allowed else "ALLOWED_VIDEO_HOSTS"):
        Fetcher(None, None, tmp_path, hosts=AllowedHosts([entry])).local_path(url)
    assert bool(connected) == allowed


def test_a_redirect_is_decided_on_anew(label_studio: Site, make_site: Callable[[], Site], tmp_path: Path):
    """From Label Studio, which may be asked, to a neighbour that may not."""
    neighbour = make_site()
    neighbour.pages["/x.mp4"] = video
    label_studio.pages["/data/upload/1/moved.mp4"] = redirect_to(f"{neighbour.url}/x.mp4")
    for hosts in (AllowedHosts(), AllowedHosts(public=True), AllowedHosts(["*.0.0.1"])):
        with pytest.raises(FetchError, match="ALLOWED_VIDEO_HOSTS"):
            Fetcher(label_studio.url, LEGACY_TOKEN, tmp_path, hosts=hosts).local_path("/data/upload/1/moved.mp4")
    assert neighbour.asked == []
    Fetcher(label_studio.url, LEGACY_TOKEN, tmp_path, hosts=HERE).local_path("/data/upload/1/moved.mp4")
    assert neighbour.asked == [("/x.mp4", None, None)]


@pytest.mark.parametrize(
    "path", ["/api/users", "/data/upload/../../api/users", "/data/upload/%252e%252e/api/users", "/user/login/", "/"]
)
def test_the_token_opens_label_studios_media_and_nothing_else_there(path: str, label_studio: Site, tmp_path: Path):
    """A task's author must not make the backend read what he may not."""
    label_studio.pages["/redirect"] = redirect_to(path)
    fetcher = Fetcher(label_studio.url, LEGACY_TOKEN, tmp_path)
    for url in (f"{label_studio.url}{path}", f"{label_studio.url}/redirect"):
        with pytest.raises(FetchError):
            fetcher.local_path(url)
    assert {authorization for _, authorization, _ in label_studio.asked} == {None}


@pytest.mark.parametrize(
    "wanted",
    [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "..%2Fx",
        "a%00b",
        "%2e%2e/x",
        "..\\x",
        "link",
        "link/passwd",
        "loop",
        "x" * 300,
    ],
)
def test_local_files_stay_in_their_folder(wanted: str, label_studio: Site, tmp_path: Path):
    root, outside = tmp_path / "root", tmp_path / "x"
    root.mkdir()
    outside.write_bytes(b"secret")
    (root / "link").symlink_to("/etc")
    (root / "loop").symlink_to("loop")
    fetcher = Fetcher(label_studio.url, None, tmp_path / "cache", root)
    with pytest.raises(FetchError):
        fetcher.local_path(f"/data/local-files/?d={wanted}")


def test_a_server_that_drips_does_not_outlast_the_deadline(
    label_studio: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A byte now and then keeps every time-out between two bytes from coming."""
    monkeypatch.setattr("omni_timeline.label_studio.files.DOWNLOAD_SECONDS", 0.5)

    def drips(page: BaseHTTPRequestHandler) -> None:
        answer(page, b"", Content_Length=10_000)
        for _ in range(10_000):
            page.wfile.write(b"x")
            page.wfile.flush()
            time.sleep(0.05)

    label_studio.pages[UPLOAD] = drips
    with pytest.raises(FetchError, match="took longer"):
        Fetcher(label_studio.url, None, tmp_path).local_path(UPLOAD)


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
    fetcher = Fetcher(label_studio.url, LEGACY_TOKEN, tmp_path, hosts=HERE)
    said = []
    for page in ("odd.mp4", "missing.mp4"):
        label_studio.pages["/tasks/7/resolve/"] = redirect_to(f"{bucket.url}/{page}?{query}")
        try:
            said.append(fetcher.local_path(f"s3://bucket/{page}", task_id=7).name)
        except FetchError as error:
            said.append(f"{error!r} {error.__cause__!r}")
    assert len(said) == 2
    for text in (*said, caplog.text):
        assert not any(secret in text for secret in (LEGACY_TOKEN, "signature", "credential"))


# --- downloads -------------------------------------------------------------------------------------------------------
def test_a_bucket_address_goes_through_label_studios_resolver(label_studio: Site, tmp_path: Path):
    label_studio.pages["/tasks/7/resolve/"] = video
    fetcher = Fetcher(label_studio.url, LEGACY_TOKEN, tmp_path)
    assert fetcher.local_path("s3://bucket/a b.mp4", task_id=7).read_bytes() == VIDEO
    assert label_studio.paths() == [f"/tasks/7/resolve/?fileuri={base64.b64encode(b's3://bucket/a b.mp4').decode()}"]
    with pytest.raises(FetchError, match="stored in Label Studio"):
        fetcher.local_path("gs://bucket/other.mp4")


def test_a_broken_connection_is_taken_up_where_it_broke(label_studio: Site, tmp_path: Path):
    def breaks(page: BaseHTTPRequestHandler) -> None:
        start = int((page.headers["Range"] or "bytes=0-")[6:-1])
        whole = {"status": 206, "Content_Range": f"bytes {start}-{len(VIDEO) - 1}/{len(VIDEO)}"} if start else {}
        answer(page, VIDEO[start : start + 256 * KIB], **{**whole, "Content_Length": len(VIDEO) - start})
        page.close_connection = True

    label_studio.pages[UPLOAD] = breaks
    assert Fetcher(label_studio.url, None, tmp_path).local_path(UPLOAD).read_bytes() == VIDEO
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
    path = Fetcher(label_studio.url, None, tmp_path).local_path("s3://bucket/x.mp4", task_id=7)
    assert path.read_bytes() == VIDEO


def test_a_server_without_ranges_is_asked_for_the_whole_again(label_studio: Site, tmp_path: Path):
    def breaks_once(page: BaseHTTPRequestHandler) -> None:
        first = len(label_studio.asked) == 1
        answer(page, VIDEO[: 256 * KIB] if first else VIDEO, Content_Length=len(VIDEO))
        page.close_connection = True

    label_studio.pages[UPLOAD] = breaks_once
    assert Fetcher(label_studio.url, None, tmp_path).local_path(UPLOAD).read_bytes() == VIDEO


def test_a_server_that_is_busy_for_a_moment_is_asked_again(label_studio: Site, tmp_path: Path):
    busy = lambda page: answer(page, b"", status=503) if len(label_studio.asked) == 1 else video(page)  # noqa: E731
    label_studio.pages[UPLOAD] = busy
    assert Fetcher(label_studio.url, None, tmp_path).local_path(UPLOAD).read_bytes() == VIDEO


def test_a_video_that_always_breaks_off_is_an_error_and_leaves_nothing_behind(label_studio: Site, tmp_path: Path):
    """A truncated file in the cache would be a valid one from then on."""

    def breaks(page: BaseHTTPRequestHandler) -> None:
        answer(page, VIDEO[: 256 * KIB], Content_Length=len(VIDEO))
        page.close_connection = True

    label_studio.pages[UPLOAD] = breaks
    with pytest.raises(FetchError, match="could not be fetched"):
        Fetcher(label_studio.url, None, tmp_path).local_path(UPLOAD)
    assert cached(tmp_path) == []


def test_nobody_listening_is_one_sentence_without_the_address_query(tmp_path: Path):
    with pytest.raises(FetchError, match="no connection") as failure:
        Fetcher(None, None, tmp_path, hosts=HERE).local_path("http://user:word@127.0.0.1:9/x.mp4?Signature=abc")
    assert "abc" not in str(failure.value)
    assert "word" not in str(failure.value)


@pytest.mark.parametrize("says_its_size", [True, False])
def test_a_video_above_the_limit_is_refused(says_its_size: bool, label_studio: Site, tmp_path: Path):
    def large(page: BaseHTTPRequestHandler) -> None:
        if says_its_size:
            video(page)
        else:
            page.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + VIDEO)

    label_studio.pages[UPLOAD] = large
    with pytest.raises(FetchError, match="MAX_VIDEO_BYTES"):
        Fetcher(label_studio.url, None, tmp_path, max_bytes=len(VIDEO) - 1).local_path(UPLOAD)
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
        Fetcher(label_studio.url, None, tmp_path).local_path(UPLOAD)


# --- cache -----------------------------------------------------------------------------------------------------------
def test_the_same_address_with_a_new_signature_is_fetched_once(label_studio: Site, tmp_path: Path):
    label_studio.pages["/x.mp4"] = video
    fetcher = Fetcher(None, None, tmp_path, hosts=HERE)
    queries = [
        "id=3&X-Amz-Date=1&X-Amz-Signature=a",
        "id=3&X-Amz-Date=2&X-Amz-Signature=b",
        "id=3&Signature=c&Expires=9&AWSAccessKeyId=k",
        "id=3&sig=d&se=2026&sp=r",
    ]
    assert len({fetcher.local_path(f"{label_studio.url}/x.mp4?{query}") for query in queries}) == 1
    assert len(label_studio.asked) == 1


def test_a_query_that_is_no_signature_tells_videos_apart(label_studio: Site, tmp_path: Path):
    label_studio.pages["/x.mp4"] = video
    fetcher = Fetcher(None, None, tmp_path, hosts=HERE)
    queries = ["id=3", "id=4", "id=3&expires=1", "se=1", "se=2"]
    assert len({fetcher.local_path(f"{label_studio.url}/x.mp4?{query}") for query in queries}) == len(queries)


def test_a_day_old_file_is_fetched_again(label_studio: Site, tmp_path: Path):
    fetcher = Fetcher(label_studio.url, None, tmp_path)
    path = fetcher.local_path(UPLOAD)
    path.write_bytes(b"yesterday's")
    os.utime(path, (time.time(), time.time() - 25 * 3600))
    assert fetcher.local_path(UPLOAD).read_bytes() == VIDEO


def test_the_files_used_longest_ago_make_room(label_studio: Site, tmp_path: Path):
    fetcher = Fetcher(label_studio.url, None, tmp_path, cache_bytes=2 * len(VIDEO))
    paths = []
    for name in "abc":
        label_studio.pages[f"/data/upload/1/{name}.mp4"] = video
    for name in "ab":
        paths.append(fetcher.local_path(f"/data/upload/1/{name}.mp4"))
        os.utime(paths[-1], (time.time() - 100 + len(paths), time.time()))
    fetcher.local_path("/data/upload/1/a.mp4")  # used again
    paths.append(fetcher.local_path("/data/upload/1/c.mp4"))
    assert [path.exists() for path in paths] == [True, False, True]


def test_what_a_killed_process_left_is_removed_in_time(label_studio: Site, tmp_path: Path):
    left, running = tmp_path / "part-left", tmp_path / "part-running"
    for path, age in ((left, 7200), (running, 60)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age, time.time() - age))
    Fetcher(label_studio.url, None, tmp_path).local_path(UPLOAD)
    assert (left.exists(), running.exists()) == (False, True)


def test_a_cache_folder_that_cannot_be_made_is_named(label_studio: Site, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FetchError, match="CACHE_DIR"):
        Fetcher(label_studio.url, None, tmp_path / "file" / "cache").local_path(UPLOAD)


FETCH = """
import resource, sys
from pathlib import Path
from omni_timeline.label_studio.files import Fetcher
if sys.argv[3] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
print(Fetcher(sys.argv[1], None, Path(sys.argv[2])).local_path(sys.argv[4]))
"""


def test_a_full_disk_is_said_so_and_leaves_nothing_behind(label_studio: Site, tmp_path: Path):
    """No room for more than 100 KiB in a file: the write fails in the middle, as on a full disk."""
    full = subprocess.run(
        [sys.executable, "-c", FETCH, label_studio.url, tmp_path, str(100 * KIB), UPLOAD],
        capture_output=True,
        text=True,
    )
    assert "FetchError: CACHE_DIR cannot be written" in full.stderr
    assert cached(tmp_path) == []


def test_a_process_killed_while_it_fetches_leaves_no_file_that_looks_whole(label_studio: Site, tmp_path: Path):
    half = threading.Event()

    def stalls(page: BaseHTTPRequestHandler) -> None:
        answer(page, VIDEO[: 320 * KIB], Content_Length=len(VIDEO))
        page.wfile.flush()
        half.set()
        time.sleep(3)

    label_studio.pages[UPLOAD] = stalls
    process = subprocess.Popen([sys.executable, "-c", FETCH, label_studio.url, tmp_path, "0", UPLOAD])
    assert half.wait(60)
    while not any(path.stat().st_size for path in tmp_path.iterdir()):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert [path.name.startswith("part-") for path in tmp_path.iterdir()] == [True]
    label_studio.pages[UPLOAD] = video
    assert Fetcher(label_studio.url, None, tmp_path).local_path(UPLOAD).read_bytes() == VIDEO
