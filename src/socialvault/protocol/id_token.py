"""ID tokens (OpenID Connect Core 1.0): always verified, whatever channel they came through."""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from socialvault.exceptions import AccountMismatchError, IssuerMismatchError, SocialVaultError
from socialvault.model.identity import Identity
from socialvault.model.secret import Secret
from socialvault.protocol import errors
from socialvault.protocol.algorithms import SIGNATURES
from socialvault.protocol.decoding import Document, decode_document, decode_optional, parse_object
from socialvault.protocol.messages import METADATA_RESPONSE_BYTES, Exchange, HttpRequest, HttpResponse
from socialvault.protocol.timestamps import read_timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from socialvault.model.token import TokenSet


_SKEW = timedelta(seconds=60)
_OLDEST = timedelta(minutes=10)  # the life of a code: some servers date the token from the authorization
_MAX_CHARACTERS = 64 * 1024
_MAX_SUBJECT_CHARACTERS = 255
_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 8192
_BASE64URL = re.compile(r"[A-Za-z0-9_\-]+")
_PUBLIC_MEMBERS = ("kty", "n", "e", "crv", "x", "y")


@dataclass(frozen=True, slots=True)
class IdTokenRules:
    """What an ID token must show.

    Attributes:
        algorithms: those of `SIGNATURES` that this server signs with.
        nonce_required: refuse a token without a nonce; one with another nonce is refused in any case.
        untrusted_host: `jwks_url` came from a user or from a document.
        provider: its slug, for errors.
    """

    issuer: str
    client_id: str
    jwks_url: str
    algorithms: tuple[str, ...]
    nonce_required: bool
    untrusted_host: bool
    provider: str


@dataclass(frozen=True, slots=True)
class IdTokenClaims:
    """What a valid ID token says. The account's key is (`issuer`, `identity.subject`), byte for byte."""

    identity: Identity
    issuer: str
    issued_at: datetime
    expires_at: datetime


def jwks_request(rules: IdTokenRules, *, renew: bool = False) -> HttpRequest:
    """Build the question for the server's keys; a stored answer will do, unless they are to be renewed.

    Spec: RFC 7517, section 5.
    """
    return HttpRequest(
        "GET",
        rules.jwks_url,
        headers=(("Accept", "application/json"),),
        max_response_bytes=METADATA_RESPONSE_BYTES,
        caching="renew" if renew else "use",
        untrusted_host=rules.untrusted_host,
    )


def validate(
    id_token: Secret[str],
    rules: IdTokenRules,
    *,
    nonce: Secret[str] | None,
    access_token: Secret[str] | None,
    obtained_at: datetime,
) -> Exchange[IdTokenClaims]:
    """Validate an ID token in full, and return what it says about the account.

    When no key fits, the keys are asked for once more: the server may have changed them.

    Spec: OpenID Connect Core 1.0, sections 2, 3.1.3.7 and 3.1.3.8, and stricter: the signature is always verified,
    a second audience is refused, and ``azp`` counts wherever it stands. Keys come from `rules.jwks_url` alone, never
    from the token's own header.

    Args:
        nonce: as sent; None only for a refreshed token (section 12.2).
        access_token: the one that came with it, for ``at_hash``.
        obtained_at: the present, by the caller's clock.

    Raises:
        IssuerMismatchError: it was issued by somebody else.
        MalformedResponseError: any other check failed; the message names the check.
        ProviderError: the keys could not be read.
    """
    token = _parse(id_token, rules)
    if isinstance(token, str):
        raise _refusal(token, rules)
    response = yield jwks_request(rules)
    problem = _signature_problem(token, _read_keys(response, rules))
    if problem == _NO_KEY or (problem and token.key_id is None):
        response = yield jwks_request(rules, renew=True)
        problem = _signature_problem(token, _read_keys(response, rules))
    if problem:
        raise _refusal(problem, rules)
    if not rules.issuer or token.claims.text("iss") != rules.issuer:
        raise IssuerMismatchError(f"{rules.provider}: the ID token was issued by another issuer")
    problem = (
        _audience_problem(token.claims, rules.client_id)
        or _time_problem(token.claims, obtained_at)
        or _nonce_problem(token.claims, nonce, required=rules.nonce_required)
        or _hash_problem(token, access_token)
    )
    if problem:
        raise _refusal(problem, rules)
    return _read_claims(token.claims, rules, obtained_at)


def check_refreshed(fresh: TokenSet, rules: IdTokenRules, *, subject: str) -> Exchange[TokenSet]:
    """Check the ID token that a refresh brought, and return the tokens to store.

    An ID token that proves another account or issuer is an error. One that proves nothing (a bad signature, keys that
    can't be fetched, a wrong audience) is dropped and the other tokens are returned: by now the old refresh token may
    be spent, and an ornament must not cost the new one.

    Spec: OpenID Connect Core 1.0, section 12.2.

    Args:
        subject: of the connection.

    Raises:
        AccountMismatchError: it is about another subject.
        IssuerMismatchError: it was issued by somebody else.
    """
    if fresh.id_token is None:
        return fresh
    try:
        claims = yield from validate(
            fresh.id_token, rules, nonce=None, access_token=fresh.access_token, obtained_at=fresh.obtained_at
        )
        same_account = claims.identity.subject == subject
        del claims  # who it is about is nobody's business in a traceback
    except IssuerMismatchError:
        raise
    except SocialVaultError:
        return replace(fresh, id_token=None)
    if not same_account:
        raise AccountMismatchError(f"{rules.provider}: the refreshed ID token is about another account")
    return fresh


def _refusal(problem: str, rules: IdTokenRules) -> SocialVaultError:
    return errors.malformed(f"ID token refused: {problem}", provider=rules.provider)


# --- the token's form ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Token:
    """A token taken apart, nothing in it believed yet."""

    algorithm: str
    key_id: str | None
    claims: Document
    signing_input: Secret[bytes]
    signature: Secret[bytes]


def _parse(id_token: Secret[str], rules: IdTokenRules) -> _Token | str:
    text = id_token.reveal()
    if len(text) > _MAX_CHARACTERS:
        return "it is too long"
    segments = text.split(".", 3)
    decoded = [_decode_segment(segment) for segment in segments]
    if len(decoded) != 3 or None in decoded:
        return "it is no signed JWT"
    header, claims = parse_object(decoded[0] or b""), parse_object(decoded[1] or b"")
    if isinstance(header, str) or isinstance(claims, str):
        return "its header or its claims can't be read"
    problem = _header_problem(header, rules)
    return problem or _Token(
        algorithm=str(header["alg"]),
        key_id=None if header.get("kid") is None else str(header["kid"]),
        claims=Document(claims, provider=rules.provider),
        signing_input=Secret(text.rpartition(".")[0].encode("ascii")),
        signature=Secret(decoded[2] or b""),
    )


def _header_problem(header: Mapping[str, object], rules: IdTokenRules) -> str:
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in SIGNATURES.keys() & set(rules.algorithms):
        return "its algorithm (alg) is not allowed"
    if "crit" in header or "b64" in header:  # no extension is understood here (RFC 7515, section 4.1.11)
        return "its header demands an extension (crit)"
    return "" if isinstance(header.get("kid"), str | None) else "its key id (kid) is no text"


def _decode_segment(segment: str) -> bytes | None:
    if not _BASE64URL.fullmatch(segment) or len(segment) % 4 == 1:
        return None
    data = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    return data if _encode_segment(data) == segment else None  # one token has one spelling


def _encode_segment(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


# --- the signature ------------------------------------------------------------------------------

_NO_KEY = "no key of the server fits it (kid)"
_AMBIGUOUS_KEY = "several keys of the server fit it (kid)"
_BAD_SIGNATURE = "its signature does not verify"


def _read_keys(response: HttpResponse, rules: IdTokenRules) -> tuple[Document, ...]:
    if response.status != 200:
        raise errors.read_error(response, decode_optional(response, rules.provider), provider=rules.provider)
    document = decode_document(response, provider=rules.provider)
    if not isinstance(document.value("keys"), list):
        raise errors.malformed("the key set has no keys", provider=rules.provider, status=response.status)
    return document.documents("keys")


def _signature_problem(token: _Token, keys: tuple[Document, ...]) -> str:
    fitting = [key for key in keys if _fits(key, token)]
    if not fitting:
        return _NO_KEY
    if len(fitting) > 1:
        return _AMBIGUOUS_KEY
    return "" if _verifies(token, fitting[0]) else _BAD_SIGNATURE


def _fits(key: Document, token: _Token) -> bool:
    algorithm = SIGNATURES[token.algorithm]
    operations = key.value("key_ops")
    return (
        key.text("kty") == algorithm.key_type
        and (algorithm.curve is None or key.text("crv") == algorithm.curve)
        and (token.key_id is None or key.value("kid") == token.key_id)
        and key.value("use") in (None, "sig")
        and key.value("alg") in (None, token.algorithm)
        and (operations is None or (isinstance(operations, list) and "verify" in operations))
    )


def _verifies(token: _Token, document: Document) -> bool:
    from joserfc.jwk import JWKRegistry, RSAKey  # here, because most processes never see an ID token
    from joserfc.jws import JWSRegistry

    members = {name: document.text(name) or "" for name in _PUBLIC_MEMBERS if document.has(name)}
    if not _plausible_size(members):
        return False
    try:
        key = JWKRegistry.import_key(dict(members))
        if isinstance(key, RSAKey) and not _MIN_RSA_BITS <= key.public_key.key_size <= _MAX_RSA_BITS:
            return False
        model = JWSRegistry.algorithms[token.algorithm]
        model.check_key(key)
        return model.verify(token.signing_input.reveal(), token.signature.reveal(), key)
    except Exception:  # noqa: BLE001  # a stranger's key: whatever is wrong with it, nothing was verified
        return False


def _plausible_size(members: Mapping[str, str]) -> bool:
    """Bound an RSA exponent, which bounds the cost, and keep short keys away from joserfc's warning about them."""
    if members.get("kty") != "RSA":
        return True
    modulus, exponent = members.get("n", ""), members.get("e", "")
    return len(modulus) * 6 >= _MIN_RSA_BITS and len(exponent) <= 6


# --- the claims ---------------------------------------------------------------------------------


def _audience_problem(claims: Document, client_id: str) -> str:
    audience = claims.value("aud")
    if audience != client_id and not (
        isinstance(audience, list) and audience and all(entry == client_id for entry in audience)
    ):
        return "it is not for this client alone (aud)"
    if claims.has("azp") and claims.value("azp") != client_id:
        return "it was issued to another client (azp)"
    return ""


def _time_problem(claims: Document, now: datetime) -> str:
    subject = claims.text("sub")
    if not subject or len(subject) > _MAX_SUBJECT_CHARACTERS:
        return "it names no subject (sub)"
    expires_at, issued_at = read_timestamp(claims.value("exp")), read_timestamp(claims.value("iat"))
    if expires_at is None or expires_at + _SKEW <= now:
        return "it has expired, or does not say when (exp)"
    if issued_at is None or not now - _OLDEST - _SKEW <= issued_at <= now + _SKEW:
        return "it was not issued just now (iat), or this host's clock is wrong"
    if claims.has("nbf"):
        not_before = read_timestamp(claims.value("nbf"))
        if not_before is None or not_before > now + _SKEW:
            return "it is not valid yet (nbf)"
    return ""


def _nonce_problem(claims: Document, nonce: Secret[str] | None, *, required: bool) -> str:
    if nonce is None:
        return ""
    if not claims.has("nonce"):
        return "it has no nonce" if required else ""
    value = claims.text("nonce")
    return "" if value is not None and Secret(value) == nonce else "its nonce is another flow's"


def _hash_problem(token: _Token, access_token: Secret[str] | None) -> str:
    if not token.claims.has("at_hash"):
        return ""
    if access_token is None:
        return "its at_hash can't be checked without an access token"
    digest = hashlib.new(
        SIGNATURES[token.algorithm].hash_name, access_token.reveal().encode("utf-8", "replace")
    ).digest()
    expected = Secret(_encode_segment(digest[: len(digest) // 2]))
    value = token.claims.text("at_hash")
    return "" if value is not None and Secret(value) == expected else "its at_hash is another access token's"


def _read_claims(claims: Document, rules: IdTokenRules, now: datetime) -> IdTokenClaims:
    return IdTokenClaims(
        identity=Identity(
            subject=claims.text("sub") or "",
            name=claims.text("name") or "",
            username=claims.text("preferred_username") or "",
            email=claims.text("email") or "",
            picture_url=claims.text("picture") or "",
        ),
        issuer=rules.issuer,
        issued_at=read_timestamp(claims.value("iat")) or now,
        expires_at=read_timestamp(claims.value("exp")) or now,
    )
