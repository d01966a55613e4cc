from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from omni_timeline.errors import FetchError
from omni_timeline.label_studio.files import VideoFiles
from omni_timeline.label_studio.hosts import AllowedHosts
from sites import (
    HERE,
    LEGACY_TOKEN,
    Site,
    fetch,
    redirect_to,
    video,
)


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
        fetch(VideoFiles(None, None, tmp_path, hosts=AllowedHosts(public=True)), f"http://{host}/x.mp4")
    assert connected == []


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.1.2.3", "::ffff:10.1.2.3", "::1"])
@pytest.mark.parametrize("hosts", [AllowedHosts(public=True), AllowedHosts(["*.example.org"])])
def test_a_name_that_leads_inside_is_refused(
    address: str, hosts: AllowedHosts, look_up: Callable[..., list[str]], tmp_path: Path
):
    connected = look_up(cdn_example_org=[address])
    with pytest.raises(FetchError, match="inside a network"):
        fetch(VideoFiles(None, None, tmp_path, hosts=hosts), "http://cdn.example.org/x.mp4")
    assert connected == []


def test_what_was_looked_up_is_what_is_connected_to(look_up: Callable[..., list[str]], tmp_path: Path):
    """DNS rebinding: public for the check, loopback for the connection."""
    connected = look_up(cdn_example_org=["93.184.215.14", "127.0.0.1", "127.0.0.1"])
    with pytest.raises(FetchError, match="inside a network"):  # when it is asked again
        fetch(VideoFiles(None, None, tmp_path, hosts=AllowedHosts(public=True)), "http://cdn.example.org/x.mp4")
    assert connected == ["93.184.215.14"]


def test_a_proxy_from_the_environment_does_not_look_up_public_names(
    look_up: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("HTTP_PROXY", "http://10.0.0.9:3128")
    monkeypatch.setenv("ALL_PROXY", "http://10.0.0.9:3128")
    connected = look_up(cdn_example_org=["93.184.215.14"] * 4)
    with pytest.raises(FetchError, match="no connection"):
        fetch(VideoFiles(None, None, tmp_path, hosts=AllowedHosts(public=True)), "http://cdn.example.org/x.mp4")
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
        fetch(VideoFiles(None, None, tmp_path, hosts=AllowedHosts([entry])), url)
    assert bool(connected) == allowed


def test_a_redirect_is_decided_on_anew(label_studio: Site, make_site: Callable[[], Site], tmp_path: Path):
    """From Label Studio, which may be asked, to a neighbour that may not."""
    neighbour = make_site()
    neighbour.pages["/x.mp4"] = video
    label_studio.pages["/data/upload/1/moved.mp4"] = redirect_to(f"{neighbour.url}/x.mp4")
    for hosts in (AllowedHosts(), AllowedHosts(public=True), AllowedHosts(["*.0.0.1"])):
        with pytest.raises(FetchError, match="ALLOWED_VIDEO_HOSTS"):
            fetch(VideoFiles(label_studio.url, LEGACY_TOKEN, tmp_path, hosts=hosts), "/data/upload/1/moved.mp4")
    assert neighbour.asked == []
    fetch(VideoFiles(label_studio.url, LEGACY_TOKEN, tmp_path, hosts=HERE), "/data/upload/1/moved.mp4")
    assert neighbour.asked == [("/x.mp4", None, None)]
