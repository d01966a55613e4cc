"""Label Studio's address and token: which requests are signed, and how.

Knows the two kinds of token and how one is exchanged. Knows nothing of tasks or videos. Made with requests instead of
label-studio-sdk: importing the SDK's client takes 1 s and 85 MB, its token exchange lives in private names, and what
is sent through it cannot be streamed to disk.
"""

from __future__ import annotations

import base64
import threading
import time
from typing import Any

import requests
from requests.auth import AuthBase
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from omni_timeline.errors import TokenError, UnreachableError
from omni_timeline.label_studio.values import MAX_WHOLE_NUMBER, member
from omni_timeline.label_studio.web import parse_json, read_body, reason, session, shown, unsigned

TIMEOUT = (10.0, 30.0)  # s: to connect, and between two bytes
EXCHANGE_SECONDS = 30.0  # s: for the body of the answer
MAX_EXCHANGE_BYTES = 64 * 1024
ACCESS_TOKEN_SECONDS = 300.0  # s: Label Studio 1.23.2


class LabelStudioAuth(AuthBase):
    """Signs requests to Label Studio, and no others.

    A personal access token is a refresh token: Label Studio takes it nowhere but at /api/token/refresh, which gives
    an access token for 300 s (1.23.2). A legacy token is sent unchanged.

    Attributes:
        host: the address of Label Studio; a request is signed when it goes to this scheme, host and port.
    """

    def __init__(self, host: str, api_key: str | None) -> None:
        self.host = host.rstrip("/")
        self._origin = _origin(self.host)
        self._api_key = api_key
        self._is_personal = _claims(api_key or "").get("token_type") == "refresh"
        self._access_token: str | None = None
        self._renew_at = 0.0  # on time.monotonic's clock, so that a wrong wall clock does no harm
        self._lock = threading.Lock()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the Authorization header, if the request goes to Label Studio.

        Raises:
            TokenError: Label Studio refuses the personal access token.
            UnreachableError: the personal access token cannot be exchanged now.
        """
        if self._api_key and self.is_for(request.url or ""):
            request.headers["Authorization"] = self._authorization()
        return request

    def is_for(self, url: str) -> bool:
        """Whether `url` goes to Label Studio."""
        return self._origin is not None and _origin(url) == self._origin

    def renew(self) -> bool:
        """Drop the access token, which was refused; returns whether a new one may help."""
        with self._lock:
            had_one, self._access_token = self._access_token is not None, None
        return had_one

    def _authorization(self) -> str:
        if not self._is_personal:
            scheme = "Bearer" if _claims(self._api_key or "") else "Token"
            return f"{scheme} {self._api_key}"
        with self._lock:  # one exchange serves all who wait
            if self._access_token is None or time.monotonic() >= self._renew_at:
                self._access_token, lifetime = self._exchange()
                self._renew_at = time.monotonic() + 0.8 * lifetime
            return f"Bearer {self._access_token}"

    def _exchange(self) -> tuple[str, float]:
        """A new access token, and the seconds for which it is valid."""
        host = shown(self.host)
        try:
            with (
                session() as asking,
                asking.post(
                    f"{self.host}/api/token/refresh",
                    json={"refresh": self._api_key},
                    timeout=TIMEOUT,
                    allow_redirects=False,  # a redirect could carry the token to another host
                    auth=unsigned,
                    stream=True,
                ) as response,
            ):
                if response.status_code in (400, 401, 403):
                    raise TokenError(
                        f"Label Studio at {host} refuses LABEL_STUDIO_API_KEY ({response.status_code}): make a new "
                        "personal access token in Label Studio under Account & Settings."
                    )
                body = read_body(response, max_bytes=MAX_EXCHANGE_BYTES, seconds=EXCHANGE_SECONDS)
                token = _header_value(member(parse_json(body), "access"))
                return token, _lifetime(token)
        except requests.RequestException as error:
            raise UnreachableError(f"Label Studio at {host} could not be reached: {reason(error)}.") from error
        except ValueError as error:
            raise UnreachableError(
                f"Label Studio at {host} gave no valid access token: check LABEL_STUDIO_URL."
            ) from error


def _header_value(token: Any) -> str:
    """The token, if a header can hold it; requests' own error would contain the token."""
    if not (isinstance(token, str) and token and token.isascii() and token.isprintable()):
        raise ValueError("not a token")
    return token


def _claims(token: str) -> dict[str, Any]:
    """The claims of a JSON web token, unverified; {} when it is not one."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = parse_json(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:  # binascii.Error is one
        return {}
    return claims if isinstance(claims, dict) else {}


def _lifetime(access_token: str) -> float:
    """How many seconds an access token is valid.

    Raises:
        ValueError: its times are not numbers.
    """
    claims = _claims(access_token)
    if "exp" not in claims or "iat" not in claims:
        return ACCESS_TOKEN_SECONDS
    expires, issued = claims["exp"], claims["iat"]
    for seconds in (expires, issued):
        if not (type(seconds) in (int, float) and abs(seconds) < MAX_WHOLE_NUMBER):
            raise ValueError("not a time")
    return float(expires - issued)


def _origin(url: str) -> tuple[str | None, str | None, int | None] | None:
    """Scheme, host and port, as the library that connects reads them; None when it cannot."""
    try:
        parts = parse_url(url)
    except LocationParseError:
        return None
    return parts.scheme, parts.host, parts.port or {"http": 80, "https": 443}.get(parts.scheme or "")
