"""No error of the protocol shows what it was about: not in its text, its chain, or its frames' locals."""

from __future__ import annotations

import json
import traceback
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from joserfc.jwk import ECKey
from joserfc.jws import JWSRegistry

from socialvault.exceptions import SocialVaultError
from socialvault.model.secret import Secret
from socialvault.model.token import TokenSet
from socialvault.protocol import (
    authorization,
    client_auth,
    decoding,
    errors,
    id_token,
    introspection,
    metadata,
    revocation,
    token,
)
from socialvault.protocol.id_token import _encode_segment as b64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CANARY = "kanarienvogel"
# Encoded, a canary shows as one of these, whichever byte it starts on.
TRACES = (CANARY, *(b64(b"x" * shift + CANARY.encode())[4:-4] for shift in range(3)), CANARY.encode().hex())


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def library_frames(error: BaseException) -> Iterator[traceback.FrameSummary]:
    """Yield the frames with their locals; a test's own frames hold the canary by design."""
    for frame in traceback.TracebackException.from_exception(error, capture_locals=True).stack:
        if "/socialvault/" in frame.filename.replace("\\", "/"):
            yield frame


def traces_in(error: BaseException) -> list[str]:
    shown: list[tuple[str, str]] = []
    for each in chain(error):
        shown += [
            ("text", str(each)),
            ("repr", repr(each)),
            ("args", repr(each.args)),
            ("attributes", repr(vars(each))),
        ]
        for frame in library_frames(each):
            shown += [(f"{frame.name}: {name}", text) for name, text in (frame.locals or {}).items()]
    return [where for where, text in shown if any(trace in text for trace in TRACES)]


def caught(action: Callable[[], object]) -> SocialVaultError:
    with pytest.raises(SocialVaultError) as info:
        action()
    return info.value


# --- the detector itself --------------------------------------------------------------------------


def test_the_detector_finds_what_it_looks_for():
    namespace: dict[str, object] = {}
    source = "def raising(code):\n    raise ValueError('plain')\n"
    exec(compile(source, "/x/socialvault/fake.py", "exec"), namespace)
    for value in (CANARY, f"a{CANARY}", b64(f"ab{CANARY}!".encode()), {"deep": [CANARY.encode()]}):
        with pytest.raises(ValueError, match="plain") as info:
            namespace["raising"](value)  # type: ignore[operator]
        assert traces_in(info.value) == ["raising: code"]
    assert traces_in(ValueError(CANARY)) == ["text", "repr", "args"]
    chained = ValueError("x")
    chained.__context__ = ValueError(CANARY)
    assert traces_in(chained)


# --- bodies ---------------------------------------------------------------------------------------

BODIES = {
    "html": f"<html>{CANARY}</html>".encode(),
    "no_utf8": b'{"access_token":"' + CANARY.encode() + b'\xff"}',
    "no_json": f'{{"access_token":"{CANARY}"'.encode(),
    "bom": b"\xef\xbb\xbf" + f'{{"access_token":"{CANARY}"}}'.encode(),
    "nan": f'{{"access_token":"{CANARY}","expires_in":NaN}}'.encode(),
    "duplicate": f'{{"access_token":"{CANARY}","access_token":"{CANARY}"}}'.encode(),
    "duplicate_name": f'{{"{CANARY}":1,"{CANARY}":2}}'.encode(),
    "deep": f'{{"access_token":"{CANARY}","x":{"[" * 50}{"]" * 50}}}'.encode(),
    "very_deep": f'{{"access_token":"{CANARY}","x":{"[" * 50_000}'.encode(),
    "huge_int": f'{{"access_token":"{CANARY}","x":{"9" * 5000}}}'.encode(),
    "surrogate": f'{{"access_token":"{CANARY}","x":"\\ud800"}}'.encode(),
    "list": f'["{CANARY}"]'.encode(),
    "string": f'"{CANARY}"'.encode(),
}


@pytest.mark.parametrize("form_encoded", [False, True])
@pytest.mark.parametrize(
    "content_type", ["application/json", "text/html", "text/plain", "application/json; charset=latin1"]
)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_an_unreadable_body_shows_nowhere(answer, body, content_type, form_encoded):
    response = answer(body, content_type=content_type)
    error = caught(lambda: decoding.decode_document(response, provider="acme", form_encoded=form_encoded))
    assert traces_in(error) == []
    assert error.__context__ is None


@pytest.mark.parametrize("body", [f"{CANARY}", f"a={CANARY}&a={CANARY}", f"a={CANARY}%ff", f"{CANARY}=1&x"])
def test_a_broken_form_shows_nowhere(answer, body):
    response = answer(body.encode(), content_type="application/x-www-form-urlencoded")
    assert traces_in(caught(lambda: decoding.decode_document(response, provider="acme", form_encoded=True))) == []


# --- token answers --------------------------------------------------------------------------------

TOKENS = {
    "token_type": {"access_token": CANARY, "token_type": f"mac {CANARY}"},
    "no_access_token": {"refresh_token": CANARY},
    "newline": {"access_token": f"{CANARY}\n"},
    "non_ascii": {"access_token": f"{CANARY}é"},
    "too_long": {"access_token": CANARY * 10_000},
    "list": {"access_token": [CANARY]},
    "object": {"access_token": {"value": CANARY}},
    "bad_refresh_token": {"access_token": CANARY, "refresh_token": f"{CANARY} x"},
    "bad_id_token": {"access_token": CANARY, "refresh_token": CANARY, "id_token": [CANARY]},
}


@pytest.mark.parametrize("fields", TOKENS.values(), ids=TOKENS)
def test_a_refused_token_answer_shows_nowhere(answer, fields):
    def read() -> object:
        response = answer(fields)
        return token.read_token(response, decoding.decode_document(response, provider="acme"), provider="acme")

    assert traces_in(caught(read)) == []


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 429, 500, 503])
@pytest.mark.parametrize("code", ["invalid_grant", "invalid_client", "server_error", "slow_down", "other", 5, None])
def test_an_error_answer_shows_its_code_alone(answer, status, code):
    fields = {
        "error": code,
        "error_description": CANARY,
        "error_uri": CANARY,
        "refresh_token": CANARY,
        "nested": {"x": CANARY},
    }
    response = answer(fields, status, www_authenticate=f"Bearer error_description={CANARY}")
    for document in (decoding.decode_optional(response, "acme"), None):
        error = errors.read_error(response, document, provider="acme")
        assert traces_in(error) == []

        def raising(document: decoding.Document | None = document) -> None:
            introspection.read_introspection(response, provider="acme")
            revocation.read_revocation(response, provider="acme")
            assert document

        assert traces_in(caught(raising)) == []


def test_a_missing_refresh_token_shows_no_other(now):
    stored = TokenSet(Secret(CANARY), now, id_token=Secret(CANARY))
    assert traces_in(caught(lambda: token.refresh_form(stored))) == []


def test_what_holds_secrets_shows_none_of_them(now):
    credentials = client_auth.ClientCredentials("id", Secret(CANARY), "client_secret_basic")
    form = token.code_form(Secret(CANARY), "https://app.example/cb", Secret(CANARY))
    post = replace(credentials, method="client_secret_post")
    stored = TokenSet(Secret(CANARY), now, refresh_token=Secret(CANARY), id_token=Secret(CANARY))
    held = [
        credentials,
        form,
        token.refresh_form(stored),
        client_auth.authenticated_post("https://as.example/token", form, credentials),
        client_auth.authenticated_post("https://as.example/token", form, post),
        revocation.revocation_requests("https://as.example/r", stored, credentials),
        introspection.introspection_request("https://as.example/i", Secret(CANARY), post, hint="access_token"),
        authorization.parse_response({"state": CANARY, "code": CANARY}),
        token.merge(stored, stored),
        decoding.Document({"access_token": CANARY, "deep": {"x": [CANARY]}}),
    ]
    for each in held:
        assert not any(trace in repr(each) for trace in TRACES), type(each)


# --- callbacks ------------------------------------------------------------------------------------

CALLBACKS = {
    "state_missing": [("code", CANARY)],
    "state_empty": [("state", ""), ("code", CANARY)],
    "state_twice": [("state", CANARY), ("state", CANARY), ("code", CANARY)],
    "code_twice": [("state", CANARY), ("code", CANARY), ("code", CANARY)],
    "code_and_error": [("state", CANARY), ("code", CANARY), ("error", CANARY)],
    "neither": [("state", CANARY), ("access_token", CANARY)],
    "state_too_long": [("state", CANARY * 100), ("code", CANARY)],
    "code_too_long": [("state", CANARY), ("code", CANARY * 1000)],
    "everything_too_long": [("state", CANARY), ("code", CANARY), ("x", CANARY * 2000)],
    "control_character": [("state", CANARY), ("code", CANARY + "\n")],
    "no_text": [("state", CANARY), ("code", CANARY), ("x", 5)],
}


def refusal_of(function, params) -> SocialVaultError | None:
    try:
        function(params)
    except SocialVaultError as error:
        return error
    return None


@pytest.mark.parametrize("function", [authorization.parse_response, authorization.parse_parameters])
@pytest.mark.parametrize("pairs", CALLBACKS.values(), ids=CALLBACKS)
def test_a_refused_callback_shows_nowhere(function, pairs):
    query = "&".join(f"{name}={quote(str(value))}" for name, value in pairs)
    for params in (
        pairs,
        query,
        query.encode(),
        query + "&broken=%ff",
        query + "&a=b" * 100,
        [*pairs, CANARY],
        {CANARY: pairs},
    ):
        error = refusal_of(function, params)
        assert error is None or (traces_in(error) == [] and error.__context__ is None)


def test_another_issuer_shows_neither_state_nor_code():
    response = authorization.parse_response({"state": CANARY, "code": CANARY, "iss": "https://evil.example"})
    check = partial(authorization.check_issuer, response, expected="https://as.example", promised=True)
    assert traces_in(caught(check)) == []


# --- metadata, introspection, ID tokens -----------------------------------------------------------


def test_refused_metadata_shows_nowhere(answer):
    good = {
        "issuer": "https://as.example",
        "authorization_endpoint": "https://as.example/a",
        "token_endpoint": "https://as.example/t",
    }
    for changes in (
        {"issuer": f"https://{CANARY}.example"},
        {"token_endpoint": f"http://{CANARY}"},
        {"jwks_uri": CANARY},
        {"code_challenge_methods_supported": [CANARY]},
    ):
        response = answer({**good, "other": CANARY, **changes})
        read = partial(metadata.read_metadata, response, issuer="https://as.example", provider="acme", loopback=False)
        assert traces_in(caught(read)) == []


def test_a_refused_introspection_shows_nowhere(answer):
    response = answer({"active": CANARY, "username": CANARY})
    assert traces_in(caught(lambda: introspection.read_introspection(response, provider="acme"))) == []


RULES = id_token.IdTokenRules(
    issuer="https://as.example",
    client_id="client-1",
    jwks_url="https://as.example/keys",
    algorithms=("ES256",),
    nonce_required=True,
    untrusted_host=False,
    provider="acme",
)


@pytest.fixture(scope="module")
def key():
    return ECKey.generate_key("P-256")


def signed(key, claims, header=None) -> Secret[str]:
    head, body = (b64(json.dumps(part).encode()) for part in ({"alg": "ES256", "kid": "k1", **(header or {})}, claims))
    return Secret(f"{head}.{body}.{b64(JWSRegistry.algorithms['ES256'].sign(f'{head}.{body}'.encode(), key))}")


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": CANARY},
        {"aud": CANARY},
        {"aud": [CANARY, "client-1"]},
        {"azp": CANARY},
        {"sub": CANARY * 50},
        {"sub": {"x": CANARY}},
        {"exp": 5},
        {"iat": CANARY},
        {"nbf": CANARY},
        {"nonce": CANARY + "2"},
        {"at_hash": CANARY},
        {"at_hash": [CANARY]},
    ],
    ids=repr,
)
def test_a_refused_id_token_shows_none_of_its_claims(answer, key, now, changes):
    stamp = int(now.timestamp())
    claims = {
        "iss": RULES.issuer,
        "aud": "client-1",
        "sub": CANARY,
        "iat": stamp,
        "exp": stamp + 60,
        "nonce": CANARY,
        "email": CANARY,
    }
    keys = answer({"keys": [{**key.as_dict(private=False), "kid": "k1"}], "other": CANARY})
    raw = signed(key, {**claims, **changes})

    def run() -> None:
        exchange = id_token.validate(raw, RULES, nonce=Secret(CANARY), access_token=Secret(CANARY), obtained_at=now)
        next(exchange)
        exchange.send(keys)

    assert traces_in(caught(run)) == []


@pytest.mark.parametrize(
    ("header", "key_set"),
    [
        ({"alg": CANARY}, []),
        ({"crit": [CANARY]}, []),
        ({"kid": {"x": CANARY}}, []),
        ({"jwk": {"x": CANARY}}, [{"kty": "EC", "crv": "P-256", "x": CANARY, "y": CANARY, "kid": "k1"}]),
        ({}, []),
        ({}, [{"kty": CANARY}]),
    ],
    ids=repr,
)
def test_an_unverifiable_id_token_shows_nowhere(answer, key, now, header, key_set):
    raw = signed(key, {"iss": RULES.issuer, "sub": CANARY}, header)
    keys = answer({"keys": key_set, "other": CANARY})

    def run() -> None:
        exchange = id_token.validate(raw, RULES, nonce=Secret(CANARY), access_token=Secret(CANARY), obtained_at=now)
        next(exchange)
        exchange.send(keys)
        exchange.send(keys)

    assert traces_in(caught(run)) == []


@pytest.mark.parametrize(
    "text", [CANARY, f"{CANARY}.{CANARY}.{CANARY}", f"{b64(CANARY.encode())}.e30.AA", CANARY * 10_000]
)
def test_a_mutilated_id_token_shows_nowhere(now, text):
    exchange = id_token.validate(Secret(text), RULES, nonce=None, access_token=None, obtained_at=now)
    assert traces_in(caught(lambda: next(exchange))) == []


def test_another_account_after_a_refresh_shows_nowhere(answer, drive, key, now):
    stamp = int(now.timestamp())
    claims = {"iss": RULES.issuer, "aud": "client-1", "sub": CANARY, "iat": stamp, "exp": stamp + 60}
    fresh = TokenSet(Secret(CANARY), now, refresh_token=Secret(CANARY), id_token=signed(key, claims))
    keys = answer({"keys": [{**key.as_dict(private=False), "kid": "k1"}]})
    error = caught(lambda: drive(id_token.check_refreshed(fresh, RULES, subject="7"), [keys]))
    assert traces_in(error) == []
