"""The requests that Meta signs: ``base64url(signature).base64url(payload)``, by HMAC-SHA256 with the app's secret."""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING

from socialvault.model.notice import AccountNotice
from socialvault.protocol.decoding import Document, parse_object
from socialvault.protocol.timestamps import read_timestamp

if TYPE_CHECKING:
    from socialvault.model.secret import Secret

_MAX_CHARACTERS = 16 * 1024
_SIGNED_REQUEST = re.compile(r"([A-Za-z0-9_-]{43})=?\.(([A-Za-z0-9_-]+)={0,2})")
#: What the JavaScript SDK hands to a page at a login is signed alike, and is no notice.
_OF_A_LOGIN = ("code", "oauth_token")


def read_signed_request(app_secret: Secret[str], signed_request: object) -> AccountNotice | None:
    """Return the notice that a signed request holds; None unless Meta signed exactly this for this app.

    It never raises, and decodes nothing before the signature is known to be right.

    Args:
        signed_request: the form field as it came, from anybody.
    """
    if not isinstance(signed_request, str) or len(signed_request) > _MAX_CHARACTERS:
        return None
    parts = _SIGNED_REQUEST.fullmatch(signed_request)
    if parts is None or not hmac.compare_digest(_signature(app_secret, parts[2]), parts[1]):
        return None
    return _read_payload(parts[3])


def _signature(app_secret: Secret[str], encoded_payload: str) -> str:
    digest = hmac.digest(app_secret.reveal().encode("utf-8", "surrogatepass"), encoded_payload.encode(), "sha256")
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def _read_payload(encoded: str) -> AccountNotice | None:
    if len(encoded) % 4 == 1:  # base64 never ends like that
        return None
    fields = parse_object(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    if isinstance(fields, str):
        return None
    payload = Document(fields)
    subject, issued_at = payload.identifier("user_id"), read_timestamp(payload.value("issued_at"))
    if (payload.text("algorithm") or "").upper() != "HMAC-SHA256" or any(map(payload.has, _OF_A_LOGIN)):
        return None
    return AccountNotice(subject, issued_at) if subject and issued_at else None
