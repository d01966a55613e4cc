from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from sites import UPLOAD, Site, serving, video


@pytest.fixture
def make_site() -> Iterator[Callable[[], Site]]:
    with ExitStack() as stack:

        def make() -> Site:
            site = Site()
            stack.enter_context(serving(site))
            return site

        yield make


@pytest.fixture
def label_studio(make_site: Callable[[], Site]) -> Site:
    site = make_site()
    site.pages[UPLOAD] = video
    return site


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

        # A name server of strangers, and the network behind it: nothing else here is replaced.
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr("urllib3.util.connection.create_connection", create_connection)
        monkeypatch.setattr("omni_timeline.label_studio.download.RETRY_PAUSE", 0.0)  # seconds otherwise
        return connected

    real_lookup = socket.getaddrinfo
    return use
