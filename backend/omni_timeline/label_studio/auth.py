"""Label Studio's address and token: who gets signed requests, and with what.

Knows the two kinds of token and how one is exchanged. Knows nothing of tasks or videos. Made with requests instead of
label-studio-sdk: importing the SDK's client takes 1 s and 85 MB, its token exchange lives in private names, and what
is sent through it cannot be streamed to disk.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from typing import Any

import requests
from requests.auth import AuthBase
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from omni_timeline.errors import UnreachableError

TIMEOUT = (10.0, 30.0)  # s: to connect, and between two bytes
ACCESS_TOKEN_SECONDS = 300.0  # s: Label Studio 1.23.2


class LabelStudioAuth(AuthBase):
    """Signs requests to Label Studio, and no others.

    A personal access token is a refresh token: Label Studio takes it nowhere but at /api/token/refresh, which gives
    an access token for 300 s (1.23.2). A legacy token is sent as it is.

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
            UnreachableError: the personal access token cannot be exchanged.
        """
        if self._api_key and self.is_for(request.url or ""):
            request.headers["Authorization"] = self._authorization()
        return request

    def is_for(self, url: str) -> bool:
        """Whether `url` goes to Label Studio."""
        return self._origin is not None and _origin(url) == self._origin

    def renew(self) -> bool:
        """Drop the access token, since it was refused; whether a new one may help."""
        with self._lock:
            had_one, self._access_token = self._access_token is not None, None
        return had_one

    def _authorization(self) -> str:
        if not self._is_personal:
            scheme = "Bearer" if _claims(self._api_key or "") else "Token"
            return f"{scheme} {self._api_key}"
        with self._lock:  # one exchange serves all who wait
            if self._access_token is None or time.monotonic() >= self._renew_at:
                self._access_token = self._exchange()
                self._renew_at = time.monotonic() + 0.8 * _lifetime(self._access_token)
            return f"Bearer {self._access_token}"

    def _exchange(self) -> str:
        try:
            response = requests.post(
                f"{self.host}/api/token/refresh",
                json={"refresh": self._api_key},
                timeout=TIMEOUT,
                allow_redirects=False,  # a redirect could carry the token to another host
                auth=unsigned,
            )
        except requests.RequestException as error:
            raise UnreachableError(f"Label Studio at {self.host} could not be reached: {reason(error)}.") from error
        if response.status_code in (400, 401, 403):
            raise UnreachableError(
                f"Label Studio at {self.host} refuses LABEL_STUDIO_API_KEY ({response.status_code}): make a new "
                "personal access token in Label Studio under Account & Settings."
            )
        try:
            return str(response.json()["access"])
        except (ValueError, KeyError, TypeError) as error:
            raise UnreachableError(
                f"Label Studio at {self.host} gave no access token ({response.status_code}): check LABEL_STUDIO_URL."
            ) from error


def unsigned(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """The authorization of a request that needs none."""
    return request


def reason(error: requests.RequestException) -> str:
    """Why a request failed, in words; never the exception's own, which hold the whole address."""
    if isinstance(error, requests.Timeout):
        return "the server does not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not accepted"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__


def _claims(token: str) -> dict[str, Any]:
    """What a JSON web token says of itself, unverified; {} when it is not one."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _lifetime(access_token: str) -> float:
    """How many seconds an access token is good for."""
    claims = _claims(access_token)
    if "exp" in claims and "iat" in claims:
        return float(claims["exp"]) - float(claims["iat"])
    return ACCESS_TOKEN_SECONDS


def _origin(url: str) -> tuple[str | None, str | None, int | None] | None:
    """Scheme, host and port, as the library reads them that makes the connection; None when it cannot."""
    try:
        parts = parse_url(url)
    except LocationParseError:
        return None
    return parts.scheme, parts.host, parts.port or {"http": 80, "https": 443}.get(parts.scheme or "")
