"""Which hosts videos are fetched from: those that the operator lists, and public ones if the operator allows them.

    minio:9000, [::1], 10.0.0.7    named in full: trusted wherever the name leads, through the environment's proxies
    *.example.org                  many names, some perhaps made by strangers: public addresses only
    any other                      public addresses only, and only with ALLOW_PUBLIC_VIDEO_HOSTS

Whether an address is public is decided on the very address that is then connected to, for each request: a name that
leads elsewhere a moment later gains nothing. Knows nothing of paths, tokens or videos.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

import requests
from requests_hardened.ip_filter import InvalidIPAddress
from requests_hardened.ip_filter_adapter import IPFilterAdapter
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from omni_timeline.errors import FetchError
from omni_timeline.label_studio.values import shortened
from omni_timeline.label_studio.web import EndingAdapter

__all__ = ["AllowedHosts", "InvalidIPAddress", "PublicAdapter"]

# A proxy of the environment would look the name up itself, after the check.
NO_PROXIES = {"http": "", "https": ""}

# Inside Azure's machines this answers for the machine, though it looks public.
METADATA = (ipaddress.ip_address("168.63.129.16"),)


class PublicAdapter(IPFilterAdapter, EndingAdapter):  # type: ignore[misc]  # the library has no types
    """Connects to public addresses only; raises `InvalidIPAddress` for the others.

    requests-hardened looks the name up, refuses private and link-local addresses and other spellings of them, and
    connects to the address it has seen. The ranges that it leaves out are added here.
    """

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
        """The address to connect to, as `requests` asks for it before each request."""
        host, pool = super().build_connection_pool_key_attributes(*args, **kwargs)
        address = ipaddress.ip_address(str(host["host"]).strip("[]"))
        # fec0::/10 is the forerunner of fc00::/7; ::/96 holds IPv4 addresses.
        site_local = getattr(address, "is_site_local", False)
        if not address.is_global or address.is_reserved or site_local or address in METADATA:
            raise InvalidIPAddress(address)
        return host, pool


class AllowedHosts:
    """The hosts that the operator lists, and whether any other may be asked.

    Args:
        entries: host, host:port, *.domain or *.domain:port; without a port any port.
        public: whether hosts that are not listed may be asked at public addresses.
    """

    def __init__(self, entries: Iterable[str] = (), *, public: bool = False) -> None:
        self._entries = [entry.strip().lower().rstrip(".") for entry in entries if entry.strip()]
        self._public = public

    def is_named(self, url: str) -> bool:
        """Whether the host of `url` is listed in full and so trusted wherever its name leads.

        Raises:
            FetchError: the host may not be asked at all.
        """
        host, port = _host_and_port(url)
        named = {host, f"{host}:{port}"}
        if named & set(self._entries):
            return True
        for entry in self._entries:
            domain, _, wanted = entry.removeprefix("*").partition(":")
            if entry.startswith("*.") and host.endswith(domain) and wanted in ("", str(port)):
                return False
        if self._public:
            return False
        raise FetchError(
            f"Videos are not fetched from {shortened(host)}: add it to ALLOWED_VIDEO_HOSTS, or set "
            "ALLOW_PUBLIC_VIDEO_HOSTS=1 for all public addresses."
        )


def public_session() -> requests.Session:
    """A session that connects to public addresses only."""
    made = requests.Session()
    for scheme in ("http", "https"):
        made.mount(f"{scheme}://", PublicAdapter(scheme == "https"))
    return made


def _host_and_port(url: str) -> tuple[str, int]:
    """Host and port as the library that connects reads them."""
    try:
        parts = parse_url(url)
    except LocationParseError as error:
        raise FetchError("The address of the video has no valid host.") from error
    if not parts.host:
        raise FetchError("The address of the video has no host.")
    return parts.host.lower().rstrip("."), parts.port or (443 if parts.scheme == "https" else 80)
