"""X (formerly Twitter)."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from socialvault.model.identity import Identity
from socialvault.providers.base import Provider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from socialvault.protocol.decoding import Document
    from socialvault.protocol.errors import ErrorKind


class X(Provider):
    """Connects accounts of X: posts, profiles and direct messages through the v2 API.

    Quirks, checked 2026-11-22:

    - A refresh token is issued with ``offline.access`` only, works once, and is replaced by each refresh.
    - A spent or revoked refresh token, and a spent code, are answered with ``invalid_request``, not ``invalid_grant``.
    - A wrong client secret is answered with ``unauthorized_client``. The API's own errors are problem details (RFC
      9457) without ``error``, whose ``type`` ends in a name: ``client-forbidden`` for an app that is in no project.
    - A code lives 30 seconds: it is exchanged in the callback itself, never queued.
    - Confidential clients use Basic, on refreshes and revocations too; without a secret the client id is in the form.
    - Revocation needs ``token_type_hint``, although RFC 7009 makes it optional. What else it ends is not documented.
    - The account can be read with ``users.read`` and ``tweet.read`` together only, so both are always asked for.
    - An e-mail address needs ``users.email`` and ``confirmed_email`` among the ``user.fields`` of `userinfo_url`.
    - The old hosts twitter.com and api.twitter.com still answer; one flow must not mix them with these.
    """

    slug = "x"
    name = "X"
    authorize_url = "https://x.com/i/oauth2/authorize"
    token_url = "https://api.x.com/2/oauth2/token"
    revoke_url = "https://api.x.com/2/oauth2/revoke"
    userinfo_url = "https://api.x.com/2/users/me?user.fields=profile_image_url"
    api_hosts = frozenset({"api.x.com"})
    default_scopes = identity_scopes = ("users.read", "tweet.read")
    offline_scopes = ("offline.access",)
    renewal = "rotating"
    revocation_style = "rfc7009"
    error_map: Mapping[str, ErrorKind] = MappingProxyType({
        "invalid_request": "reauthorize",
        "client-forbidden": "client", "unsupported-authentication": "client", "usage-capped": "rate_limited",
    })  # fmt: skip

    def read_identity(self, document: Document) -> Identity:
        """Read the account, which X wraps in ``data``."""
        return Identity(
            subject=document.text("data.id") or "",
            name=document.text("data.name") or "",
            username=document.text("data.username") or "",
            email=document.text("data.confirmed_email") or "",
            picture_url=document.text("data.profile_image_url") or "",
        )
