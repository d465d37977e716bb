"""Errors as problem documents (RFC 9457): one table from an error's branch to a status."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from socialvault import exceptions as errors
from socialvault.http.bodies import ProblemDocument
from socialvault.http.messages import Headers, Response

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

#: The nearest ancestor in this table decides.
STATUSES: Mapping[type[errors.SocialVaultError], int] = MappingProxyType({
    errors.SocialVaultError: 500,
    errors.ConfigurationError: 500,
    errors.AuthorizationError: 400,
    errors.AuthorizationDeniedError: 403,
    errors.OwnerMismatchError: 403,
    errors.AlreadyConnectedError: 409,
    errors.AccountMismatchError: 409,
    errors.ProviderError: 502,
    errors.ReauthorizationRequiredError: 409,
    errors.RateLimitedError: 503,
    errors.ProviderUnavailableError: 503,
    errors.MissingScopesError: 403,
    errors.TransportError: 502,
    errors.RefreshError: 503,
    errors.TokenAtRiskError: 500,
    errors.ConnectionNotFoundError: 404,
    errors.GenerationConflictError: 409,
    errors.StoreUnavailableError: 503,
    errors.KeyServiceUnavailableError: 503,
})  # fmt: skip

_logger = logging.getLogger("socialvault")

_WORD = re.compile(r"(?<!^)(?=[A-Z])")
_RETRY_SECONDS = 5


@dataclass(eq=False)
class HttpError(Exception):
    """A request that the routes refuse by themselves; `SocialVaultError` is what the vault refuses."""

    status: int
    code: str
    detail: str
    action: str = "report"
    extras: Mapping[str, Any] = field(default_factory=dict)
    headers: Headers = ()


def code_of(problem: errors.SocialVaultError) -> str:
    """Return an error's name for programs: ``StateMismatchError`` is ``state_mismatch``."""
    return _WORD.sub("_", type(problem).__name__.removesuffix("Error")).lower() or "social_vault"


def status_of(problem: errors.SocialVaultError) -> int:
    """Return the status that an error is answered with."""
    return next(STATUSES[cls] for cls in type(problem).__mro__ if cls in STATUSES)


def http_error(problem: errors.SocialVaultError) -> HttpError:
    """Return what the vault refused as what is answered.

    What only an operator can mend is answered with a sentence about its kind: the message itself goes to the log.
    """
    if isinstance(problem, errors.ConfigurationError) and problem.argument:
        fields = [{"field": problem.argument, "message": str(problem)}]
        return HttpError(422, "invalid_fields", str(problem), problem.action, {"errors": fields})
    status = status_of(problem)
    detail = str(problem) if status < 500 else (type(problem).__doc__ or "").partition("\n")[0]
    extras: dict[str, Any] = {}
    headers: Headers = ()
    if isinstance(problem, errors.MissingScopesError):
        extras = {"missing": sorted(problem.missing), "required": sorted(problem.required)}
    elif isinstance(problem, errors.ReauthorizationRequiredError):
        extras = {"reason": problem.reason}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        seconds = _seconds(getattr(problem, "retry_after", None))
        extras, headers = {"retry_after_seconds": seconds}, (("Retry-After", str(seconds)),)
    return HttpError(status, code_of(problem), detail, problem.action, extras, headers)


def log_failure(what: str, problem: errors.SocialVaultError) -> None:
    """Log what an operator should know of; the caller is told about its kind alone."""
    if http_error(problem).status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _logger.error("%s: %s: %s", what, type(problem).__name__, problem)


def problem_response(error: HttpError) -> Response:
    """Answer a program with a problem document."""
    document = ProblemDocument.model_validate({
        "type": f"urn:socialvault:problem:{error.code}",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "action": error.action,
        **error.extras,
    })  # fmt: skip
    body = document.model_dump_json(exclude_none=True).encode()
    return Response(error.status, body, "application/problem+json", error.headers)


def _seconds(retry_after: timedelta | None) -> int:
    return _RETRY_SECONDS if retry_after is None else max(1, math.ceil(retry_after.total_seconds()))
