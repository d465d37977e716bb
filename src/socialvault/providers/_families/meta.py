"""What Meta's products share: the Graph API's errors, its proof of the app secret, its paging, its token exchange."""

from __future__ import annotations

import hmac
from collections import deque
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from socialvault.exceptions import ConfigurationError, ProviderError, ReauthorizationRequiredError
from socialvault.protocol import errors
from socialvault.protocol.client_auth import Form
from socialvault.protocol.decoding import Document, decode_optional
from socialvault.providers._families.signed_request import read_signed_request
from socialvault.providers.base import Provider

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from socialvault.model.connection import RevocationOutcome
    from socialvault.model.notice import AccountNotice
    from socialvault.model.secret import Secret
    from socialvault.protocol.messages import Exchange, HttpRequest, HttpResponse

#: The Graph API's error codes; an instance's ``error_map`` counts before them. ``190:463`` names a subcode, and
#: ``1:client_secret`` a fault of the application's whose number alone means something else.
GRAPH_ERRORS: Mapping[str, errors.ErrorKind] = MappingProxyType({
    "1": "unavailable", "2": "unavailable",
    "4": "rate_limited", "17": "rate_limited", "32": "rate_limited", "341": "rate_limited", "613": "rate_limited",
    "80001": "rate_limited", "80002": "rate_limited",
    "101": "client", "1:client_secret": "client", "100:appsecret_proof": "client",
    "102": "reauthorize", "190": "reauthorize",
})  # fmt: skip
#: How the text of an error begins that blames the application; nothing else in the answer says so.
APPLICATION_FAULTS: Mapping[str, str] = MappingProxyType({
    "Error validating client secret": "client_secret", "Invalid appsecret_proof": "appsecret_proof",
})  # fmt: skip
#: Why a token is dead, by the subcode of error 102 or 190.
DEAD_TOKEN_REASONS: Mapping[str, str] = MappingProxyType({
    "458": "app_removed", "459": "checkpointed", "460": "password_changed", "463": "expired", "464": "unconfirmed",
    "467": "invalid", "492": "role_lost",
})  # fmt: skip
_PERMISSION_CODES = frozenset({"10", *map(str, range(200, 300))})
_CREDENTIAL_PARAMETERS = frozenset({"access_token", "appsecret_proof"})
_MOST_ANSWERS = 100


class GraphProvider(Provider):
    """A product of Meta: every call that carries a token proves that it comes from the app's own server."""

    account_notices: ClassVar[bool] = True

    def _check_credentials(self, secret: Secret[str] | None) -> None:
        super()._check_credentials(secret)
        if not secret:
            raise ConfigurationError(f"{type(self).__name__}({self.slug!r}): client_secret is missing: calls need it")
        object.__setattr__(self, "_app_secret", secret)

    @property
    def app_secret(self) -> Secret[str]:
        """The app's secret, which its calls are signed with."""
        secret: Secret[str] = self.__dict__["_app_secret"]
        return secret

    def api_params(self, access_token: Secret[str]) -> Mapping[str, str]:
        """Build ``appsecret_proof``, which shows that the app's own server is asking."""
        return {"appsecret_proof": appsecret_proof(self.app_secret, access_token)}

    def signed_get(
        self, url: str, access_token: Secret[str], *, headers: tuple[tuple[str, str], ...] = ()
    ) -> HttpRequest:
        """Build a GET with the token in its header and ``appsecret_proof`` in its query.

        Raises:
            ConfigurationError: the URL's host is not one of `api_hosts`.
        """
        self.check_signed_url(url)
        joiner = "&" if "?" in url else "?"
        proof = appsecret_proof(self.app_secret, access_token)
        return self.bearer_get(f"{url}{joiner}appsecret_proof={proof}", access_token, headers=headers)

    def read_error(self, response: HttpResponse, document: Document | None) -> ProviderError:
        """Judge an error by the Graph API's code and subcode.

        A 429 or 5xx is transient whatever it says, and so is what calls itself transient.
        """
        code = document.identifier("error.code") if document else None
        if document is None or code is None:
            return super().read_error(response, document)
        subcode = document.identifier("error.error_subcode")
        detail = _application_fault(document.text("error.message") or "") or subcode
        codes = (f"{code}:{detail}", code) if detail else (code,)
        error = errors.read_error(
            response, document, provider=self.slug, error_map={**GRAPH_ERRORS, **self.error_map}, codes=codes
        )
        if document.value("error.is_transient") is True and error.action != "retry":
            return errors.build_error("unavailable", response, provider=self.slug, error=codes[0])
        if isinstance(error, ReauthorizationRequiredError):
            reason = DEAD_TOKEN_REASONS.get(subcode or "", "invalid")
            return errors.build_error("reauthorize", response, provider=self.slug, error=codes[0], reason=reason)
        if type(error) is ProviderError and code in _PERMISSION_CODES:
            text = f"{self.slug}: a permission is missing (error {codes[0]})"
            return ProviderError(text, provider=self.slug, status=response.status, error=error.error)
        return error

    def read_revocation(self, response: HttpResponse) -> RevocationOutcome:
        """Judge the answer to the removal of a grant. A dead token (error 190) means that there is none any more."""
        document = decode_optional(response, self.slug)
        refused = document is not None and (document.has("error") or document.value("success") is False)
        if response.status == 200 and not refused:
            return "revoked"
        error = self.read_error(response, document)
        if isinstance(error, ReauthorizationRequiredError):
            return "already_gone"
        raise error

    def read_account_notice(self, signed_request: str) -> AccountNotice | None:
        """Read a deauthorisation or a data deletion request; see `read_signed_request`."""
        return read_signed_request(self.app_secret, signed_request)

    def read_lists(self, urls: Iterable[str], access_token: Secret[str]) -> Exchange[list[Document]]:
        """Read the items of Graph lists to their ends, at most 100 answers in all.

        Raises:
            ConfigurationError: a list continues at a host that is not one of `api_hosts`; nothing is sent there.
            MalformedResponseError: the lists do not end.
            ProviderError: the Graph API refused; which branch, `read_error` says.
        """
        found: list[Document] = []
        waiting = deque(urls)
        for _ in range(_MOST_ANSWERS):
            if not waiting:
                return found
            response = yield self.signed_get(waiting.popleft(), access_token)
            document = self.read_document(response)
            found += document.documents("data")
            if document.has("paging.next"):
                waiting.appendleft(without_credentials(document.text("paging.next") or ""))
        if waiting:
            raise errors.malformed(f"a list is longer than {_MOST_ANSWERS} answers", provider=self.slug, status=200)
        return found


def _application_fault(message: str) -> str:
    return next((fault for beginning, fault in APPLICATION_FAULTS.items() if message.startswith(beginning)), "")


def appsecret_proof(app_secret: Secret[str], access_token: Secret[str]) -> str:
    """Return what shows that a token is used by the app's own server: hex HMAC-SHA256 of the token."""
    return hmac.digest(app_secret.reveal().encode(), access_token.reveal().encode(), "sha256").hex()


def exchange_form(grant_type: str, access_token: Secret[str]) -> Form:
    """Build the form that exchanges a token for a longer-lived one; the parameter is named like the grant type."""
    return Form({"grant_type": grant_type, grant_type: access_token.reveal()})


def without_credentials(url: str) -> str:
    """Return a paging link without the token and the proof that Meta puts into it; "" for what is no URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    query = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in query if name not in _CREDENTIAL_PARAMETERS]
    return urlunsplit(parts._replace(query=urlencode(kept), fragment=""))
