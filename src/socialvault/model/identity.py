"""Who a grant belongs to at the provider."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """A provider account.

    Attributes:
        subject: the provider's stable id of the account, byte-exact; with the issuer it is the only key.
        name, username, email, picture_url: for display; never keys, "" when unknown.
    """

    subject: str
    name: str = ""
    username: str = ""
    email: str = ""
    picture_url: str = ""
