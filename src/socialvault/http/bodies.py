"""What goes in and out as JSON; these classes are the schemas of the OpenAPI document too."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from socialvault.model.connection import RevocationOutcome
from socialvault.model.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from socialvault.model.connection import Connection, Receipt, SubAccount
    from socialvault.model.login import Completed, Login
    from socialvault.providers.base import Provider
    from socialvault.vault.health import Health

_MOST_SCOPES = 200
_MOST_SCOPE_CHARACTERS = 4096
_MOST_IDS = 1000

ScopeText = Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$", max_length=256)]  # RFC 6749, 3.3
PathText = Annotated[str, StringConstraints(pattern=r"^/", max_length=1024)]
IdText = Annotated[str, StringConstraints(min_length=1, max_length=256)]


# --- in -----------------------------------------------------------------------------------------


class RequestBody(BaseModel):
    """What a request may say.

    Attributes:
        lists: fields that a form repeats, or separates by spaces.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, strict=True)

    lists: ClassVar[frozenset[str]] = frozenset()


class ReconnectBody(RequestBody):
    """How to begin a flow for a connection that exists."""

    lists: ClassVar[frozenset[str]] = frozenset({"scopes"})

    scopes: list[ScopeText] | None = Field(
        default=None, max_length=_MOST_SCOPES, description="Instead of the provider's default ones."
    )
    return_to: PathText | None = Field(default=None, description="An own path, allowed by the vault.")

    @field_validator("scopes")
    @classmethod
    def _fit_into_a_url(cls, scopes: list[str] | None) -> list[str] | None:
        if sum(map(len, scopes or ())) > _MOST_SCOPE_CHARACTERS:
            raise ValueError(f"at most {_MOST_SCOPE_CHARACTERS} characters in all")
        return scopes


class StartBody(ReconnectBody):
    """How to begin a flow."""

    connection_id: IdText | None = Field(default=None, description="The connection to reconnect.")


class SelectionBody(RequestBody):
    """Which sub-accounts to act for; all others are removed."""

    lists: ClassVar[frozenset[str]] = frozenset({"ids"})

    ids: list[IdText] = Field(max_length=_MOST_IDS)


# --- out ----------------------------------------------------------------------------------------


class Document(BaseModel):
    """What an answer says."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class ConnectionDocument(Document):
    """A connected account."""

    id: str = Field(description="Survives reconnects.")
    provider: str
    subject: str = Field(description="The provider's id of the account.")
    parent_id: str = Field(description="Of a sub-account: its connection; else empty.")
    kind: str = Field(description="What a sub-account is; else empty.")
    name: str
    username: str
    picture_url: str
    status: Status
    reason: str
    scopes: list[str]
    expires_at: datetime | None
    dies_at: datetime | None = Field(description="When only a new sign-in helps, as far as is known.")
    renewable: bool
    expires_soon: int | None = Field(description="14, 7 or 1 when `dies_at` is at most so many days away.")
    failing_since: datetime | None = Field(description="Since when renewals fail; a valid token is served meanwhile.")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, connection: Connection) -> Self:
        """Show a connection to its owner."""
        values = {name: getattr(connection, name) for name in cls.model_fields if name != "scopes"}
        return cls(scopes=sorted(connection.scopes), **values)


class ConnectionsDocument(Document):
    """An owner's connections."""

    connections: list[ConnectionDocument]

    @classmethod
    def of(cls, connections: Iterable[Connection]) -> Self:
        """Show connections to their owner."""
        return cls(connections=[ConnectionDocument.of(one) for one in connections])


class PlatformDocument(Document):
    """Where an account can be connected, and what is connected there."""

    slug: str
    name: str
    renewal: str = Field(description="How a connection is kept alive: rotating, static, exchange, extend or none.")
    sub_account_kind: str = Field(description="What its sub-accounts are; empty where it has none.")
    connected: bool = Field(description="Whether an account of this owner is connected and works.")
    connections: list[ConnectionDocument]

    @classmethod
    def of(cls, provider: Provider, connections: Iterable[Connection]) -> Self:
        """Show a provider with what an owner has connected there."""
        here = [one for one in connections if one.provider == provider.slug]
        return cls(
            slug=provider.slug,
            name=provider.name or provider.slug,
            renewal=provider.renewal,
            sub_account_kind=provider.sub_account_kind,
            connected=any(one.status is Status.ACTIVE for one in here),
            connections=[ConnectionDocument.of(one) for one in here],
        )


class PlatformsDocument(Document):
    """The catalogue."""

    platforms: list[PlatformDocument]


class StartedDocument(Document):
    """A flow that has begun: send the browser to `url` before `expires_at`."""

    url: str
    expires_at: datetime

    @classmethod
    def of(cls, login: Login) -> Self:
        """Show where to send the browser."""
        return cls(url=login.url, expires_at=login.expires_at)


class CompletedDocument(Document):
    """A flow that ended well."""

    connection: ConnectionDocument
    return_to: str
    missing_scopes: list[str] = Field(description="Asked for and not granted.")
    duplicate: bool = Field(description="An earlier delivery of this callback did the work.")

    @classmethod
    def of(cls, done: Completed) -> Self:
        """Show what a flow ended in."""
        return cls(
            connection=ConnectionDocument.of(done.connection),
            return_to=done.return_to,
            missing_scopes=sorted(done.missing_scopes),
            duplicate=done.duplicate,
        )


class ReceiptDocument(Document):
    """What a disconnect reached at the provider; here the connection is unusable whatever it says."""

    connection_id: str
    provider: str
    outcome: RevocationOutcome
    at: datetime
    children: list[ReceiptDocument]

    @classmethod
    def of(cls, receipt: Receipt) -> Self:
        """Show a receipt."""
        return cls(
            connection_id=receipt.connection_id,
            provider=receipt.provider,
            outcome=receipt.outcome,
            at=receipt.at,
            children=[cls.of(child) for child in receipt.children],
        )


class SubAccountDocument(Document):
    """Something a connection can act for."""

    id: str
    name: str
    kind: str
    granted: bool = Field(description="False: listed by the provider, but not granted; it can't be selected.")
    roles: list[str]
    connection_id: str = Field(description="The child connection once it is selected; else empty.")


class SubAccountsDocument(Document):
    """What a connection can act for."""

    sub_accounts: list[SubAccountDocument]

    @classmethod
    def of(cls, found: Iterable[SubAccount]) -> Self:
        """Show sub-accounts."""
        return cls(
            sub_accounts=[
                SubAccountDocument(
                    id=one.id, name=one.name, kind=one.kind, granted=one.granted, roles=list(one.roles),
                    connection_id=one.connection_id,
                )
                for one in found
            ]
        )  # fmt: skip


class DeletionDocument(Document):
    """The answer to a data deletion request, in the form that Meta asks for."""

    url: str
    confirmation_code: str


class DeletionStatusDocument(Document):
    """What became of a data deletion request."""

    status: Literal["deleted"] = "deleted"
    platform: str
    deleted_at: datetime


class LivenessDocument(Document):
    """The process answers."""

    status: Literal["ok"] = "ok"


class CheckDocument(Document):
    """One thing that was looked at; why it fails is in the log."""

    name: str
    status: Literal["pass", "fail", "off"]


class ReadinessDocument(Document):
    """Whether the vault can do its work."""

    status: Literal["ready", "unavailable"]
    checks: list[CheckDocument]

    @classmethod
    def of(cls, health: Health) -> Self:
        """Show what was found."""
        checks = [CheckDocument(name=check.name, status=check.state) for check in health.checks]
        return cls(status="ready" if health.ok else "unavailable", checks=checks)


class OpenApiDocument(Document):
    """An OpenAPI document."""

    model_config = ConfigDict(extra="allow")

    openapi: str
    info: dict[str, str]


class FieldProblem(Document):
    """One field of a body that is not as it must be."""

    field: str
    message: str


class ProblemDocument(Document):
    """Why there is no answer (RFC 9457); `action` says who must act."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    action: Literal["retry", "reauthorize", "fix_configuration", "report"]
    reason: str | None = None
    errors: list[FieldProblem] | None = None
    missing: list[str] | None = None
    required: list[str] | None = None
    retry_after_seconds: int | None = None
