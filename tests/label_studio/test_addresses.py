from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import unquote

import pytest

from omni_timeline.errors import FetchError
from omni_timeline.label_studio.addresses import Addresses, video_name
from omni_timeline.label_studio.auth import LabelStudioAuth
from omni_timeline.label_studio.files import VideoFiles
from sites import (
    HERE,
    LEGACY_TOKEN,
    UPLOAD,
    VIDEO,
    Site,
    answer,
    fetch,
    video,
)


def key_of(url: str) -> str:
    return Addresses(None).source(url, None).key


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "videos").mkdir(parents=True)
    (root / "videos" / "a b.mp4").write_bytes(VIDEO)
    (tmp_path / "secret.mp4").write_bytes(b"not yours")
    return root


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
    fetcher = VideoFiles("http://label-studio:8080", None, tmp_path / "cache", root)
    with pytest.raises(FetchError):
        fetch(fetcher, f"{host}/data/local-files/?d={path}")


def test_a_link_within_the_document_root_is_followed(root: Path, tmp_path: Path):
    (root / "link.mp4").symlink_to("videos/a b.mp4")
    fetcher = VideoFiles(None, None, tmp_path / "cache", root)
    assert fetch(fetcher, "/data/local-files/?d=link.mp4").read_bytes() == VIDEO


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
    fetcher = VideoFiles(label_studio.url, None, tmp_path / "cache", root)
    with pytest.raises(FetchError):
        fetch(fetcher, f"/data/local-files/?d={wanted}")


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
        fetch(VideoFiles(label_studio.url, None, tmp_path), url)
    assert label_studio.asked == []


def test_without_label_studios_address_the_error_says_which_variable_is_missing(tmp_path: Path):
    with pytest.raises(FetchError, match="LABEL_STUDIO_URL"):
        fetch(VideoFiles(None, None, tmp_path), UPLOAD)


def test_the_same_address_with_a_new_signature_is_fetched_once(label_studio: Site, tmp_path: Path):
    label_studio.pages["/x.mp4"] = video
    fetcher = VideoFiles(None, None, tmp_path, hosts=HERE)
    queries = [
        "id=3&X-Amz-Date=1&X-Amz-Signature=a",
        "id=3&X-Amz-Date=2&X-Amz-Signature=b",
        "id=3&Signature=c&Expires=9&AWSAccessKeyId=k",
        "id=3&sig=d&se=2026&sp=r",
    ]
    assert len({fetch(fetcher, f"{label_studio.url}/x.mp4?{query}") for query in queries}) == 1
    assert len(label_studio.asked) == 1


def test_a_query_that_is_no_signature_tells_videos_apart(label_studio: Site, tmp_path: Path):
    label_studio.pages["/x.mp4"] = video
    fetcher = VideoFiles(None, None, tmp_path, hosts=HERE)
    queries = ["id=3", "id=4", "id=3&expires=1", "se=1", "se=2"]
    assert len({fetch(fetcher, f"{label_studio.url}/x.mp4?{query}") for query in queries}) == len(queries)


@pytest.mark.parametrize(
    "query",
    [
        "X-Amz-Algorithm=A&X-Amz-Date={0}&X-Amz-Signature={0}",
        "X-Goog-Algorithm=A&X-Goog-Date={0}&X-Goog-Signature={0}",
        "Expires={0}&Signature={0}&Key-Pair-Id=K&Policy={0}",
        "OSSAccessKeyId=K&Expires={0}&Signature={0}&security-token={0}",
        "q-sign-algorithm=sha1&q-ak=K&q-sign-time={0}&q-signature={0}&x-cos-security-token={0}",
        "sv=2024&se={0}&sr=b&sp=r&sig={0}",
    ],
)
def test_every_signature_of_one_address_is_one_file(query: str):
    """The parameters that tell files apart stay as they are written, whatever stands beside them."""
    url = "https://host/x.mp4?id=a%2Bb&"
    keys = {key_of(url + query.format(number)) for number in (1, 2)}
    assert keys == {key_of(url)} == {key_of(f"{url}#t=3")} == {key_of(url.replace("host", "HOST"))}
    assert keys != {key_of(url.replace("%2B", "+") + query.format(1))}


@pytest.mark.parametrize("scheme", ["s3", "gs", "azure-blob"])
def test_a_key_in_a_storage_is_taken_as_it_stands(scheme: str, label_studio: Site, tmp_path: Path):
    """`#` began a fragment once, and two videos were one file."""
    urls = [f"{scheme}://clips/{key}" for key in ("take#1.mp4", "take#2.mp4", "take%231.mp4", "take%25231.mp4",
                                                  "a b.mp4", "a b.mp4 ", "a+b.mp4", "[1.mp4", "t=1&sig=2.mp4",
                                                  "T=1&SIG=2.mp4")]  # fmt: skip
    wanted = {url: f"/tasks/7/resolve/?fileuri={base64.urlsafe_b64encode(url.encode()).decode()}" for url in urls}
    for number, path in enumerate(wanted.values()):
        label_studio.pages[path] = lambda page, body=bytes([number + 1]): answer(page, body)
    fetcher = VideoFiles(label_studio.url, None, tmp_path)
    assert [fetch(fetcher, url, task_id=7).read_bytes() for url in urls] == [bytes([n + 1]) for n in range(len(urls))]
    assert [unquote(path) for path in label_studio.paths()] == list(wanted.values())
    assert Addresses(LabelStudioAuth("http://ls", None)).source(urls[-2], 7).host == f"{scheme}://clips"


PREFIX = "/labelstudio"


@pytest.mark.parametrize("base", ["", PREFIX, "/tools/label-studio"])
@pytest.mark.parametrize("prefix", ["", PREFIX])
def test_label_studio_may_be_below_a_path_of_a_proxy(base: str, prefix: str, label_studio: Site, tmp_path: Path):
    """It writes its own public path before those of its files; where we reach it, there may be another, or none."""
    label_studio.pages[base + UPLOAD] = video
    fetcher = VideoFiles(label_studio.url + base, LEGACY_TOKEN, tmp_path)
    assert fetch(fetcher, prefix + UPLOAD).read_bytes() == VIDEO
    assert label_studio.asked == [(base + UPLOAD, f"Token {LEGACY_TOKEN}", None)]


@pytest.mark.parametrize("public", ["https://videos.example.org", f"https://videos.example.org:8443{PREFIX}"])
def test_its_public_name_leads_to_where_it_is_reached(public: str, label_studio: Site, root: Path, tmp_path: Path):
    fetcher = VideoFiles(label_studio.url, LEGACY_TOKEN, tmp_path / "cache", root, public_host=public)
    assert fetch(fetcher, public + UPLOAD).read_bytes() == VIDEO
    assert fetch(fetcher, f"{public}/data/local-files/?d=videos/a%20b.mp4") == root / "videos" / "a b.mp4"
    assert label_studio.asked == [(UPLOAD, f"Token {LEGACY_TOKEN}", None)]
    for url in (f"{public}/x.mp4", f"https://videos.example.org/other{UPLOAD}", f"https://example.org{UPLOAD}"):
        with pytest.raises(FetchError, match="ALLOWED_VIDEO_HOSTS"):  # as any other host's
            fetch(fetcher, url)


@pytest.mark.parametrize("name", ["videos%5Ca%20b.mp4", "videos\\a b.mp4", "videos/a%20b.mp4"])
def test_a_label_studio_on_windows_writes_backslashes(name: str, root: Path, tmp_path: Path):
    fetcher = VideoFiles("http://label-studio:8080", None, tmp_path / "cache", root)
    found = root / "videos" / "a b.mp4"
    assert fetch(fetcher, f"/data/local-files/?d={name}") == found
    assert fetch(fetcher, f"http://label-studio:8080/data/local-files/?d={name}") == found


def test_a_backslash_in_a_name_here_is_a_character_like_others(root: Path, tmp_path: Path):
    (root / "videos\\a.mp4").write_bytes(b"of that name")
    (root / "videos" / "a.mp4").write_bytes(b"in the folder")
    assert fetch(VideoFiles(None, None, tmp_path, root), "/data/local-files/?d=videos%5Ca.mp4").read_bytes() == (
        b"of that name"
    )


@pytest.mark.parametrize("name", ["..%5Csecret.mp4", "videos%5C..%5C..%5Csecret.mp4", "%5C%5Cserver%5Cx.mp4"])
def test_backslashes_lead_out_of_no_folder(name: str, root: Path, tmp_path: Path):
    with pytest.raises(FetchError, match="does not name a file below"):
        fetch(VideoFiles("http://label-studio", None, tmp_path / "cache", root), f"/data/local-files/?d={name}")


@pytest.mark.parametrize(
    "url",
    [
        "http://host/x.mp4?X-Amz-Signature=SECRET\t",  # a tab in it
        "http://host/x\t.mp4?X-Amz-Signature=SECRET",
        "http://[::1/x.mp4?X-Amz-Signature=SECRET",
        "http://user:SECRET@[::1/x.mp4",
        "ftp://user:SECRET@host/x.mp4?SECRET",
        "http://host/\ud800.mp4?SECRET",  # half a character: cannot be encoded
        "s3://bucket/\udfff.mp4?SECRET",
        "x\x85.mp4?SECRET",
        "gs://bucket/x.mp4?SECRET",  # without a task
    ],
)
def test_a_refused_address_is_shown_without_what_may_be_secret(url: str, tmp_path: Path):
    with pytest.raises(FetchError) as refusal:
        fetch(VideoFiles("http://label-studio", None, tmp_path, hosts=HERE), url)
    assert "SECRET" not in str(refusal.value)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize(
    "half", ["/data/local-files/?d=\ud800", "/data/local-files/?d=%ed%a0%80", "/data/upload/\ud800"]
)
def test_half_a_character_is_a_sentence(half: str, root: Path, tmp_path: Path):
    with pytest.raises(FetchError):
        fetch(VideoFiles(None, None, tmp_path, root), half)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/data/upload/1/8abf8b6a-clip.mp4", "8abf8b6a-clip.mp4"),
        ("/data/local-files/?d=videos/a%20b.mp4", "a b.mp4"),
        ("http://host/labels/data/local-files/?d=a.mp4", "a.mp4"),
        ("/labels/data/local-files/?d=videos%5Cclip.mp4", "clip.mp4"),
        ("s3://bucket/folder/clip.mp4", "clip.mp4"),
        ("s3://bucket/day 1/take#1.mp4", "take#1.mp4"),
        ("gs://bucket/take%231.mp4?SECRET", "take%231.mp4"),
        ("http://host/clip.mp4?d=SECRET&X-Amz-Signature=SECRET", "clip.mp4"),
        ("http://host/?X-Amz-Signature=SECRET", "http://host/"),
        ("http://user:SECRET@host", "http://host"),
        ("http://[::1/?SECRET", "http://…"),
    ],
)
def test_what_a_person_calls_a_video(url: str, name: str):
    assert video_name(url) == name
