"""Every error of socialvault, as one tree. The branch says who must act.

::

    SocialVaultError                      report
    ├── ConfigurationError                fix_configuration   .argument
    ├── AuthorizationError                reauthorize         .return_to
    │   ├── AuthorizationDeniedError      reauthorize
    │   ├── StateMismatchError            reauthorize
    │   ├── StateExpiredError             reauthorize
    │   ├── OwnerMismatchError            reauthorize
    │   ├── IssuerMismatchError           report
    │   ├── AlreadyConnectedError         report
    │   └── AccountMismatchError          reauthorize
    ├── ProviderError                     report              .provider .status .error .retry_after
    │   ├── ReauthorizationRequiredError  reauthorize         .reason
    │   ├── ClientRejectedError           fix_configuration
    │   ├── RateLimitedError              retry
    │   ├── ProviderUnavailableError      retry
    │   └── MalformedResponseError        retry
    ├── MissingScopesError                reauthorize         .missing .required
    ├── TransportError                    retry               .request_sent
    ├── RefreshError                      retry
    │   ├── RefreshBusyError              retry               .retry_after
    │   ├── OutcomeUnknownError           retry
    │   └── TokenAtRiskError              report
    ├── StoreError                        report
    │   ├── ConnectionNotFoundError       report
    │   ├── GenerationConflictError       retry
    │   └── StoreUnavailableError         retry
    └── EncryptionError                   report
        ├── MalformedEnvelopeError        report
        ├── KeyNotFoundError              fix_configuration
        ├── WrongKeyError                 fix_configuration
        ├── TamperedError                 report
        └── KeyServiceUnavailableError    retry

``retry``: call again later. ``reauthorize``: the account's owner must sign in at the provider again.
``fix_configuration``: the operator must change a setting. ``report``: a person should look at it.
No message carries a token, a code, a verifier, a response body or a URL's query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

Action = Literal["retry", "reauthorize", "fix_configuration", "report"]

E = TypeVar("E", bound="SocialVaultError")


class SocialVaultError(Exception):
    """The root of everything this library raises on purpose."""

    action: ClassVar[Action] = "report"

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross a process boundary whole: plain pickling can't give ``__init__`` its keyword-only arguments."""
        return _unpickled, (type(self), *self.args), self.__dict__


def _unpickled(cls: type[E], *args: object) -> E:
    return cls.__new__(cls, *args)


class ConfigurationError(SocialVaultError):
    """A setting, an argument or an installation is wrong; the message names it.

    Attributes:
        argument: the caller's argument that is wrong, or "" when it is a setting or the installation.
    """

    action: ClassVar[Action] = "fix_configuration"

    def __init__(self, message: str, *, argument: str = "") -> None:
        super().__init__(message)
        self.argument = argument


# --- the browser flow ---------------------------------------------------------------------------


class AuthorizationError(SocialVaultError):
    """The browser flow did not end in a connection; the owner may start it again.

    Attributes:
        return_to: the verified own path that was given to ``begin``, or None before the state was verified.
    """

    action: ClassVar[Action] = "reauthorize"

    def __init__(self, message: str, *, return_to: str | None = None) -> None:
        super().__init__(message)
        self.return_to = return_to


class AuthorizationDeniedError(AuthorizationError):
    """The provider answered with an error, most often because the person declined.

    Attributes:
        error: the provider's error code (RFC 6749, section 4.1.2.1), at most 200 printable characters.
    """

    def __init__(self, message: str, *, error: str = "", return_to: str | None = None) -> None:
        super().__init__(message, return_to=return_to)
        self.error = error


class StateMismatchError(AuthorizationError):
    """The callback is malformed, or its state is unknown or was begun by another browser or for another provider."""


class StateExpiredError(AuthorizationError):
    """The callback came after its state's ten minutes, or after its one exchange was interrupted."""


class OwnerMismatchError(AuthorizationError):
    """The flow was begun for another owner or tenant."""


class IssuerMismatchError(AuthorizationError):
    """The response, the metadata or the ID token names another issuer (RFC 9207: a mix-up)."""

    action: ClassVar[Action] = "report"


class AlreadyConnectedError(AuthorizationError):
    """Another owner of this tenant has connected this account; nothing was written or revoked."""

    action: ClassVar[Action] = "report"


class AccountMismatchError(AuthorizationError):
    """A reconnect or a refresh came back as another account; nothing was overwritten."""


# --- what the provider answered -----------------------------------------------------------------


class ProviderError(SocialVaultError):
    """The provider answered with an error.

    Attributes:
        provider: its slug.
        status: the HTTP status, or None when no response came.
        error: the provider's error code, at most 200 printable characters, or None.
        retry_after: how long the provider asks to wait, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        status: int | None = None,
        error: str | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.status = status
        self.error = error
        self.retry_after = retry_after


class ReauthorizationRequiredError(ProviderError):
    """The grant is dead; only the account's owner can renew it.

    Attributes:
        reason: why, in one word (``invalid_grant``, ``expired``, ``refresh_interrupted``, …).
    """

    action: ClassVar[Action] = "reauthorize"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "invalid_grant",
        provider: str = "",
        status: int | None = None,
        error: str | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message, provider=provider, status=status, error=error, retry_after=retry_after)
        self.reason = reason


class ClientRejectedError(ProviderError):
    """The provider rejects this application (client id, secret or redirect URI), not its user."""

    action: ClassVar[Action] = "fix_configuration"


class RateLimitedError(ProviderError):
    """The provider asks to slow down (429)."""

    action: ClassVar[Action] = "retry"


class ProviderUnavailableError(ProviderError):
    """The provider is unreachable or broken for now; nothing was concluded from it."""

    action: ClassVar[Action] = "retry"


class MalformedResponseError(ProviderError):
    """The provider's answer could not be read; nothing was concluded from it."""

    action: ClassVar[Action] = "retry"


class MissingScopesError(SocialVaultError):
    """The connection lacks scopes that the call needs.

    Attributes:
        missing: what was not granted.
        required: everything to ask for, what is already granted included; hand it to ``begin(scopes=…)``.
    """

    action: ClassVar[Action] = "reauthorize"

    def __init__(self, message: str, *, missing: Iterable[str], required: Iterable[str]) -> None:
        super().__init__(message)
        self.missing = frozenset(missing)
        self.required = frozenset(required)


class TransportError(SocialVaultError):
    """No complete HTTP response came.

    Attributes:
        request_sent: whether any byte of the request may have reached the provider.
    """

    action: ClassVar[Action] = "retry"

    def __init__(self, message: str, *, request_sent: bool) -> None:
        super().__init__(message)
        self.request_sent = request_sent


# --- renewal ------------------------------------------------------------------------------------


class RefreshError(SocialVaultError):
    """A renewal did not end well; the branch says how."""

    action: ClassVar[Action] = "retry"


class RefreshBusyError(RefreshError):
    """The connection can't be renewed just now: another process is at it, or the provider finds it too young.

    Attributes:
        retry_after: when to ask again.
    """

    def __init__(self, message: str, *, retry_after: timedelta) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OutcomeUnknownError(RefreshError):
    """The renewal was sent but not answered; it will be settled, ask again later."""


class TokenAtRiskError(RefreshError):
    """The provider answered, but neither the store nor the escrow could keep the answer."""

    action: ClassVar[Action] = "report"


# --- storage ------------------------------------------------------------------------------------


class StoreError(SocialVaultError):
    """The store could not do what was asked."""


class ConnectionNotFoundError(StoreError):
    """This owner of this tenant has no such connection."""


class GenerationConflictError(StoreError):
    """The connection was written by somebody else in between."""

    action: ClassVar[Action] = "retry"


class StoreUnavailableError(StoreError):
    """The store cannot be reached, is locked, full or read-only."""

    action: ClassVar[Action] = "retry"


# --- encryption ---------------------------------------------------------------------------------


class EncryptionError(SocialVaultError):
    """A sealed record or a key could not be opened. No such error ever changes what is stored."""


class MalformedEnvelopeError(EncryptionError):
    """The bytes are no envelope of a known version and suite."""


class KeyNotFoundError(EncryptionError):
    """The envelope names a key that is not at hand."""

    action: ClassVar[Action] = "fix_configuration"


class WrongKeyError(EncryptionError):
    """A key is not the one that its id, or this database, stands for."""

    action: ClassVar[Action] = "fix_configuration"


class TamperedError(EncryptionError):
    """The envelope was altered, or moved to where it does not belong."""


class KeyServiceUnavailableError(EncryptionError):
    """The key service cannot be reached for now."""

    action: ClassVar[Action] = "retry"
