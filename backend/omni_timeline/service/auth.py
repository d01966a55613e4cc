"""Who may ask: basic auth on everything, and a secret of its own on /webhook where one is set.

Label Studio (1.23.2) sends no basic auth along with the events of annotations and tasks. With Start Training, which
comes to /webhook too, it sends basic auth and not the webhook's headers.

Knows names, passwords and what headers say of them. Knows no HTTP beyond that.
"""

from __future__ import annotations

import base64
import hmac
import logging
from dataclasses import dataclass

from omni_timeline.service.settings import Settings

SECRET_HEADER = "X-Omni-Timeline-Secret"
CHALLENGE = 'Basic realm="omni-timeline", charset="UTF-8"'  # of the header WWW-Authenticate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """Why a request is not let in, and whether basic auth would let it in."""

    sentence: str
    wants_basic_auth: bool


def is_from_elsewhere(host: str, origin: str, fetch_site: str) -> bool:
    """Whether another site's page has a browser send this request, along with the password that it remembers.

    Args:
        host: the header Host.
        origin: the header Origin, or "".
        fetch_site: the header Sec-Fetch-Site, which browsers of today send and pages cannot; or "".
    """
    if fetch_site:
        return fetch_site not in ("same-origin", "none")
    return bool(origin) and origin.partition("://")[2] != host


class Guard:
    """Who may ask one server."""

    def __init__(self, settings: Settings) -> None:
        user, password = settings.basic_auth_user, settings.basic_auth_password
        self._credentials = None if user is None else f"{user}:{password}".encode()
        self._secret = settings.webhook_secret.encode() if settings.webhook_secret else None
        if self._credentials and self._secret is None and settings.prelabel_new_tasks:
            log.warning(
                "New tasks will not be predicted on arrival: Label Studio sends no basic auth to /webhook. Set "
                "WEBHOOK_SECRET, and the header %s of the webhook in Label Studio.", SECRET_HEADER,
            )  # fmt: skip

    def refusal(self, *, to_webhook: bool, authorization: str, secret: str) -> Refusal | None:
        """Why a request is not let in; None for one that is.

        Args:
            to_webhook: whether /webhook will answer it.
            authorization: its header Authorization, or "".
            secret: its header `SECRET_HEADER`, or "".
        """
        if to_webhook and self._secret is not None:
            if hmac.compare_digest(secret.encode("utf-8", "surrogateescape"), self._secret):
                return None
            if self._are_right(authorization):  # Start Training comes with these, and without the secret
                return None
            return Refusal(f"/webhook needs WEBHOOK_SECRET in the header {SECRET_HEADER}.", False)
        if self._credentials is None or self._are_right(authorization):
            return None
        return Refusal("This server needs BASIC_AUTH_USER and BASIC_AUTH_PASSWORD.", True)

    def _are_right(self, authorization: str) -> bool:
        # Not by werkzeug's `request.authorization`, which raises on a header that is not ASCII (3.1).
        scheme, _, given = authorization.partition(" ")
        if self._credentials is None or scheme.lower() != "basic":
            return False
        try:
            words = base64.b64decode(given.strip().encode("latin-1", "replace"), validate=True)
        except ValueError:
            return False
        return hmac.compare_digest(words, self._credentials)
