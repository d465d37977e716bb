"""What people read: after coming back from a platform, after a failure, after disconnecting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from socialvault.exceptions import ConnectionNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from socialvault import Connection, SocialVaultError

# What is not listed here gets the general sentence: the code came in a URL, which anybody can write.
_ERRORS = {
    "account_mismatch": "That was another account than the one to reconnect. Nothing was changed.",
    "already_connected": "Another user of this service has connected that account. Nothing was changed.",
    "authorization_denied": "You turned the request down, so nothing was connected.",
    "state_expired": "That took too long. Please begin again.",
}
_ADVICE = {
    "retry": "That did not work just now. Please try again in a few minutes.",
    "reauthorize": "The platform does not accept our access any more. Please reconnect the account.",
}
_OUTCOMES = {
    "revoked": "The platform confirmed that our access has ended.",
    "unsupported": "This platform ends no access on request; what is left of it runs out by itself.",
    "already_gone": "Our access had ended before.",
    "kept_for_sibling": "Another connection of the same account goes on, so the platform was not asked to end it.",
    "pending": "The platform could not be reached. It is asked again until it has confirmed that our access ended.",
    "gave_up": "The platform could not be reached for a week. Please remove our access in its own settings.",
}


@dataclass(frozen=True, slots=True)
class Message:
    """One sentence for the top of the page; `role` is for screen readers."""

    role: str
    text: str


def after_return(query: Mapping[str, str], connections: Iterable[Connection]) -> Message | None:
    """Say how a flow ended, from what the callback added to the URL."""
    if "connection_error" in query:
        return Message("alert", _ERRORS.get(query["connection_error"], "The account was not connected."))
    connected = next((one for one in connections if one.id == query.get("connection")), None)
    if connected is None:
        return None
    if "missing_scopes" in query:
        return Message("status", f"{connected.name} is connected, but without some of the permissions we asked for.")
    return Message("status", f"{connected.name} is connected.")


def about(problem: SocialVaultError) -> tuple[int, str]:
    """Return the status and the sentence for what the vault refused."""
    if isinstance(problem, ConnectionNotFoundError):
        return 404, "There is no such connection."
    general = "Something is wrong on our side. We have been told."
    return (409 if problem.action == "reauthorize" else 503), _ADVICE.get(problem.action, general)


def outcome(word: str) -> str:
    """Explain a receipt."""
    return _OUTCOMES[word]
