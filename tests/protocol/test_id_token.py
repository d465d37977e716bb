from __future__ import annotations

import hashlib
import hmac
import json
import math
import time
import warnings
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from socialvault.exceptions import (
    AccountMismatchError,
    IssuerMismatchError,
    MalformedResponseError,
    ProviderUnavailableError,
    SocialVaultError,
    TransportError,
)
from socialvault.model.identity import Identity
from socialvault.model.secret import Secret
from socialvault.model.token import TokenSet
from socialvault.protocol.algorithms import SIGNATURES
from socialvault.protocol.id_token import IdTokenClaims, IdTokenRules, check_refreshed, jwks_request, validate
from socialvault.protocol.messages import METADATA_RESPONSE_BYTES

ISSUER, CLIENT, NONCE, ACCESS = "https://as.example", "client-1", Secret("n0nce"), Secret("at-1")
RULES = IdTokenRules(
    issuer=ISSUER,
    client_id=CLIENT,
    jwks_url="https://as.example/keys",
    algorithms=("ES256",),
    nonce_required=True,
    untrusted_host=False,
    provider="acme",
)


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def half_hash(name: str, token: Secret[str] = ACCESS) -> str:
    digest = hashlib.new(name, token.reveal().encode()).digest()
    return b64(digest[: len(digest) // 2])


def sign(key, claims, *, alg: str = "ES256", kid: object = "k1", **header: Any) -> Secret[str]:
    """Sign as a server would; `header` may hold anything, to sign as an attacker would."""
    fields = {"alg": alg, "kid": kid, **header}
    head = b64(json.dumps({name: value for name, value in fields.items() if value is not None}).encode())
    body = b64(claims if isinstance(claims, bytes) else json.dumps(claims).encode())
    signed = f"{head}.{body}".encode()
    if isinstance(key, bytes):  # joserfc itself won't take a public key for a shared secret
        signature = hmac.digest(key, signed, alg.replace("HS", "sha"))
    else:
        signature = JWSRegistry.algorithms[alg].sign(signed, key)
    return Secret(f"{head}.{body}.{b64(signature)}")


def public(key, kid: str | None = "k1", **members: Any) -> dict[str, Any]:
    fields = {**key.as_dict(private=False), "kid": kid, **members}
    return {name: value for name, value in fields.items() if value is not None}


@pytest.fixture(scope="session")
def ec():
    return ECKey.generate_key("P-256")


@pytest.fixture(scope="session")
def other_ec():
    return ECKey.generate_key("P-256")


@pytest.fixture(scope="session")
def rsa():
    return RSAKey.generate_key(2048)


@pytest.fixture(scope="session")
def claims(now):
    """Build claims that are valid; None takes one away."""

    def build(**changes):
        stamp = int(now.timestamp())
        valid = {
            "iss": ISSUER, "sub": "7", "aud": CLIENT, "exp": stamp + 3600, "iat": stamp, "nonce": NONCE.reveal(),
            "name": "Ada", "preferred_username": "ada", "email": "ada@example.org", "picture": "https://p.example/7",
        }  # fmt: skip
        return {name: value for name, value in {**valid, **changes}.items() if value is not None}

    return build


@pytest.fixture(scope="session")
def check(now, answer, drive, ec):
    """Validate a token against key sets; the last key set is what a renewal brings."""

    def run(token, *key_sets, rules=RULES, nonce=NONCE, access_token=ACCESS):
        sets = key_sets or ([public(ec)],)
        answers = [answer({"keys": keys}, content_type="application/jwk-set+json") for keys in sets]
        exchange = validate(token, rules, nonce=nonce, access_token=access_token, obtained_at=now)
        return drive(exchange, [*answers, answers[-1]])

    return run


def refused(check, *arguments, match, **options):
    with pytest.raises(MalformedResponseError, match=match) as caught:
        check(*arguments, **options)
    assert caught.value.provider == "acme"
    assert caught.value.__context__ is None


# --- what passes ----------------------------------------------------------------------------------


def test_a_valid_token_tells_the_account(check, claims, ec, now):
    found, requests = check(sign(ec, claims(at_hash=half_hash("sha256"))))
    assert found == IdTokenClaims(
        identity=Identity("7", "Ada", "ada", "ada@example.org", "https://p.example/7"),
        issuer=ISSUER,
        issued_at=now,
        expires_at=now + timedelta(hours=1),
    )
    assert [request.caching for request in requests] == ["use"]


def test_the_bare_minimum_passes(check, claims, ec):
    bare = claims(name=None, preferred_username=None, email=None, picture=None)
    assert check(sign(ec, bare))[0].identity == Identity("7")


SIGNERS = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "rsa"),
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "EdDSA": "Ed25519",
    "Ed25519": "Ed25519",
}


@pytest.mark.parametrize("alg", sorted(SIGNATURES))
def test_o_24_o_30_every_algorithm_verifies_and_has_its_at_hash(check, claims, rsa, alg):
    curve = SIGNERS[alg]
    key = rsa if curve == "rsa" else OKPKey.generate_key(curve) if curve == "Ed25519" else ECKey.generate_key(curve)
    size = "512" if alg in ("EdDSA", "Ed25519") else alg[2:]
    rules = replace(RULES, algorithms=(alg,))
    token = sign(key, claims(at_hash=half_hash(f"sha{size}")), alg=alg)
    assert check(token, [public(key)], rules=rules)[0].identity.subject == "7"
    wrong = "sha256" if size != "256" else "sha384"
    refused(check, sign(key, claims(at_hash=half_hash(wrong)), alg=alg), [public(key)], rules=rules, match="at_hash")
    head, body, signature = token.reveal().split(".")
    spoiled = Secret(f"{head}.{body}.{('B' if signature[0] == 'A' else 'A') + signature[1:]}")
    refused(check, spoiled, [public(key)], rules=rules, match="signature")


def test_there_is_an_algorithm_for_each_and_none_is_symmetric():
    assert SIGNERS.keys() == SIGNATURES.keys()
    assert not any(name == "none" or name.startswith("HS") for name in SIGNATURES)


def test_the_keys_are_asked_for_politely():
    request = jwks_request(replace(RULES, untrusted_host=True), renew=True)
    assert (request.method, request.url, request.caching) == ("GET", RULES.jwks_url, "renew")
    assert request.untrusted_host
    assert request.max_response_bytes == METADATA_RESPONSE_BYTES


# --- iss, aud, azp --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "issuer",
    [
        "https://as.example/",
        "https://as.exampl",
        "https://as.example.evil",
        "https://AS.example",
        "as.example",
        "",
        None,
        5,
        [ISSUER],
    ],
)
def test_o_21_another_issuer_is_refused(check, claims, ec, issuer):
    with pytest.raises(IssuerMismatchError):
        check(sign(ec, claims(iss=issuer)))


def test_o_21_rules_without_an_issuer_match_nobody(check, claims, ec):
    with pytest.raises(IssuerMismatchError):
        check(sign(ec, claims(iss="")), rules=replace(RULES, issuer=""))


@pytest.mark.parametrize("audience", [CLIENT, [CLIENT], [CLIENT, CLIENT]])
def test_o_22_this_client_alone_is_the_audience(check, claims, ec, audience):
    assert check(sign(ec, claims(aud=audience)))[0].issuer == ISSUER


@pytest.mark.parametrize(
    "audience",
    [None, "", [], "client-2", ["client-2"], [CLIENT, "client-2"], ["client-2", CLIENT], "CLIENT-1", "client-1 ", 5,
     {CLIENT: 1}, [[CLIENT]], [5], "client-1,client-2"],
)  # fmt: skip
def test_o_22_any_other_audience_is_refused(check, claims, ec, audience):
    refused(check, sign(ec, claims(aud=audience)), match="aud")


def test_o_22_the_authorized_party_is_this_client(check, claims, ec):
    assert check(sign(ec, claims(azp=CLIENT)))[0]
    for azp in ("client-2", "", [CLIENT], 5):
        refused(check, sign(ec, claims(azp=azp)), match="azp")


# --- nonce ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("nonce", ["other", "", "n0nc", "N0NCE", "n0nce ", 5, ["n0nce"], True])
@pytest.mark.parametrize("required", [True, False])
def test_o_23_another_nonce_is_refused_required_or_not(check, claims, ec, nonce, required):
    rules = replace(RULES, nonce_required=required)
    refused(check, sign(ec, claims(nonce=nonce)), rules=rules, match="nonce")


def test_o_23_a_missing_nonce_is_refused_where_it_is_required(check, claims, ec):
    refused(check, sign(ec, claims(nonce=None)), match="nonce")
    assert check(sign(ec, claims(nonce=None)), rules=replace(RULES, nonce_required=False))[0]


def test_o_23_a_refreshed_token_needs_none(check, claims, ec):
    assert check(sign(ec, claims(nonce=None)), nonce=None)[0]


# --- signature, algorithm, header -----------------------------------------------------------------


def test_o_24_a_signature_by_another_key_is_refused(check, claims, ec, other_ec):
    refused(check, sign(other_ec, claims()), [public(ec)], match="signature")


def test_o_24_changed_claims_are_refused(check, claims, ec):
    head, _, signature = sign(ec, claims()).reveal().split(".")
    forged = b64(json.dumps(claims(sub="8")).encode())
    refused(check, Secret(f"{head}.{forged}.{signature}"), match="signature")


@pytest.mark.parametrize("size", [0, 1, 32, 63, 65, 128, 4096])
def test_o_24_a_signature_of_another_size_is_refused(check, claims, ec, size):
    head, body, _ = sign(ec, claims()).reveal().split(".")
    refused(check, Secret(f"{head}.{body}.{b64(b'x' * size)}"), match="signature|signed JWT")


def test_o_24_a_signature_of_zeros_is_refused(check, claims, ec):
    head, body, _ = sign(ec, claims()).reveal().split(".")
    refused(check, Secret(f"{head}.{body}.{b64(bytes(64))}"), match="signature")


@pytest.mark.parametrize(
    "alg",
    [
        "none",
        "None",
        "NONE",
        "nOnE",
        "",
        None,
        "HS256",
        "HS384",
        "HS512",
        "RS1",
        "ES256K",
        "dir",
        "Ed448",
        5,
        ["ES256"],
        True,
    ],
)
def test_o_25_r_07_an_algorithm_outside_the_list_is_refused_before_any_key_is_fetched(claims, ec, now, alg):
    head, body, signature = sign(ec, claims()).reveal().split(".")
    fields = {"alg": alg, "kid": "k1"} if alg is not None else {"kid": "k1"}
    for end in (signature, ""):
        token = Secret(f"{b64(json.dumps(fields).encode())}.{body}.{end}")
        with pytest.raises(MalformedResponseError):
            next(validate(token, RULES, nonce=NONCE, access_token=ACCESS, obtained_at=now))
    assert head


def test_o_25_a_good_algorithm_that_was_not_configured_is_refused(check, claims, rsa):
    refused(check, sign(rsa, claims(), alg="RS256"), [public(rsa)], match="alg")


def test_o_25_a_configuration_cannot_allow_what_is_not_allowed_at_all(check, claims, rsa):
    rules = replace(RULES, algorithms=("HS256", "none", "RS256"))
    refused(check, sign(rsa.as_pem(private=False), claims(), alg="HS256"), [public(rsa)], rules=rules, match="alg")


def test_o_25_r_07_a_public_key_is_never_a_shared_secret(check, claims, rsa, ec):
    rules = replace(RULES, algorithms=tuple(SIGNATURES))
    for confused in (rsa.as_pem(private=False), rsa.as_der(private=False), json.dumps(public(rsa)).encode()):
        token = sign(confused, claims(), alg="HS256")
        refused(check, token, [public(rsa), public(ec)], rules=rules, match="alg")


def test_o_25_a_symmetric_key_in_the_key_set_verifies_nothing(check, claims):
    shared = b"a-shared-secret-of-some-length-32"
    keys = [{"kty": "oct", "k": b64(shared), "kid": "k1"}]
    refused(check, sign(shared, claims(), alg="HS256"), keys, match="alg")


def test_o_28_r_06_keys_in_the_tokens_own_header_are_ignored(check, claims, ec, other_ec):
    own = public(other_ec)
    header: dict[str, Any]
    for header in (
        {"jwk": own},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/x"},
        {"x5c": ["MII"]},
        {"jwk": own, "jku": "https://evil.example/keys", "x5t": "AAAA"},
    ):
        token = sign(other_ec, claims(), **header)
        refused(check, token, [public(ec)], match="signature")
        found, requests = check(sign(ec, claims(), **header), [public(ec)])
        assert found.identity.subject == "7"
        assert {request.url for request in requests} == {RULES.jwks_url}


def test_o_28_a_header_as_large_as_a_certificate_chain_is_no_reason_to_refuse(check, claims, ec):
    assert check(sign(ec, claims(), x5c=["M" * 4000] * 3))[0].identity.subject == "7"


@pytest.mark.parametrize(
    "header",
    [{"crit": ["exp"], "exp": 1}, {"crit": ["b64"], "b64": False}, {"b64": False}, {"b64": True}, {"crit": []},
     {"crit": "exp"},
     {"crit": ["unknown"], "unknown": True}, {"crit": ["alg"]}, {"crit": {}}, {"crit": 0}],
)  # fmt: skip
def test_o_28_r_08_a_critical_extension_is_refused(check, claims, ec, header):
    refused(check, sign(ec, claims(), **header), match="crit")


# --- which key ------------------------------------------------------------------------------------


def test_o_26_without_a_key_id_a_single_key_will_do(check, claims, ec):
    assert check(sign(ec, claims(), kid=None), [public(ec)])[0]
    assert check(sign(ec, claims(), kid=None), [public(ec, kid=None)])[0]


def test_o_26_without_a_key_id_many_keys_are_refused(check, claims, ec, other_ec):
    keys = [public(ec, "k1"), public(other_ec, "k2")]
    refused(check, sign(ec, claims(), kid=None), keys, match="several")


def test_o_26_without_a_key_id_the_only_one_that_fits_will_do(check, claims, ec, other_ec, rsa):
    unfit = [
        public(other_ec, "k2", use="enc"),
        public(other_ec, "k3", alg="ES384"),
        public(other_ec, "k4", key_ops=["sign"]),
        public(other_ec, "k5", key_ops="verify"),
        public(rsa, "k6"),
        public(ECKey.generate_key("P-384"), "k7"),
        {"kty": "unheard-of"},
        {},
    ]
    fit = public(ec, "k1", use="sig", alg="ES256", key_ops=["verify"])
    assert check(sign(ec, claims(), kid=None), [*unfit, fit])[0]
    refused(check, sign(other_ec, claims(), kid=None), unfit, match="no key")


def test_o_26_two_keys_of_one_id_are_refused_unless_only_one_fits(check, claims, ec, other_ec, rsa):
    refused(check, sign(ec, claims()), [public(ec), public(other_ec)], match="several")
    assert check(sign(ec, claims()), [public(ec), public(rsa)])[0]


def test_o_26_a_key_of_another_purpose_verifies_nothing(check, claims, ec):
    members: dict[str, Any]
    for members in ({"use": "enc"}, {"alg": "ES384"}, {"key_ops": ["sign"]}, {"use": "SIG"}, {"use": ["sig"]}):
        refused(check, sign(ec, claims()), [public(ec, **members)], match="no key")


@pytest.mark.parametrize("kid", [5, ["k1"], {"a": 1}, True])
def test_o_26_a_key_id_is_text(check, claims, ec, kid):
    refused(check, sign(ec, claims(), kid=kid), match="kid")


def test_o_27_an_unknown_key_id_asks_once_more(check, claims, ec, other_ec):
    found, requests = check(sign(ec, claims(), kid="k2"), [public(other_ec, "k1")], [public(ec, "k2")])
    assert found.identity.subject == "7"
    assert [request.caching for request in requests] == ["use", "renew"]


def test_o_27_an_id_that_stays_unknown_asks_only_once_more(claims, ec, now, answer, drive):
    exchange = validate(sign(ec, claims(), kid="flood"), RULES, nonce=NONCE, access_token=ACCESS, obtained_at=now)
    keys = answer({"keys": [public(ec)]})
    assert next(exchange).caching == "use"
    assert exchange.send(keys).caching == "renew"
    with pytest.raises(MalformedResponseError, match="kid"):
        exchange.send(keys)


def test_o_27_a_bad_signature_by_a_known_key_asks_no_more(claims, ec, other_ec, now, answer):
    exchange = validate(sign(other_ec, claims()), RULES, nonce=NONCE, access_token=ACCESS, obtained_at=now)
    next(exchange)
    with pytest.raises(MalformedResponseError, match="signature"):
        exchange.send(answer({"keys": [public(ec)]}))


def test_o_27_keys_without_ids_may_change_too(check, claims, ec, other_ec):
    found, requests = check(sign(ec, claims(), kid=None), [public(other_ec, None)], [public(ec, None)])
    assert found.identity.subject == "7"
    assert len(requests) == 2


@pytest.mark.parametrize("body", [{}, {"keys": None}, {"keys": {}}, {"keys": "x"}, []])
def test_a_key_set_without_keys_is_malformed(claims, ec, now, answer, body):
    exchange = validate(sign(ec, claims()), RULES, nonce=NONCE, access_token=ACCESS, obtained_at=now)
    next(exchange)
    with pytest.raises(MalformedResponseError):
        exchange.send(answer(body))


def test_keys_that_cannot_be_fetched_are_the_providers_trouble(claims, ec, now, answer):
    exchange = validate(sign(ec, claims()), RULES, nonce=NONCE, access_token=ACCESS, obtained_at=now)
    next(exchange)
    with pytest.raises(ProviderUnavailableError):
        exchange.send(answer(b"<html>", 503))


def test_a_strangers_broken_keys_never_crash_and_never_verify(check, claims, ec, rsa):
    good, modulus = public(ec), public(rsa)
    broken = [
        {**good, "x": "AAAA"},
        {**good, "x": "!!!!"},
        {**good, "x": ""},
        {**good, "y": None},
        {**good, "x": 5},
        {"kty": "EC", "crv": "P-256", "kid": "k1"},
        {**good, "x": good["y"], "y": good["x"]},
        {**good, "x": "A" * 100_000},
    ]
    for key in broken:
        refused(check, sign(ec, claims()), [key], match="signature")
    rules = replace(RULES, algorithms=("RS256",))
    token = sign(rsa, claims(), alg="RS256")
    for changes in ({"e": "AQ"}, {"e": "AA"}, {"e": ""}, {"n": ""}, {"n": "AQAB"}, {"n": modulus["n"][:-4]},
                    {"n": "A" * 342},
                    {"n": "_" * 200_000}, {"e": "_" * 200}, {"e": modulus["n"]}, {"n": 7}):  # fmt: skip
        started = time.thread_time()
        refused(check, token, [{**modulus, **changes}], rules=rules, match="signature")
        assert time.thread_time() - started < 0.2


@pytest.mark.filterwarnings("ignore:Key size")
def test_an_rsa_key_that_is_too_short_verifies_nothing_even_when_it_is_padded(check, claims):
    rules = replace(RULES, algorithms=("RS256",))
    short = RSAKey.generate_key(1024)
    key = public(short)
    padded = b64(bytes(128) + urlsafe_b64decode(key["n"] + "="))
    for modulus in (key["n"], padded):
        refused(check, sign(short, claims(), alg="RS256"), [{**key, "n": modulus}], rules=rules, match="signature")


def test_a_short_key_of_a_stranger_raises_no_warning_here(check, claims, rsa):
    rules = replace(RULES, algorithms=("RS256",))
    short = public(rsa, n=b64(b"\xff" * 128))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        refused(check, sign(rsa, claims(), alg="RS256"), [short], rules=rules, match="signature")
    assert seen == []


def rs256_by_hand(claims, factors: list[tuple[int, int]], exponent: int) -> Secret[str]:
    """Sign with a key of any size: `factors` are prime powers and the orders of their groups."""
    modulus = math.prod(factor for factor, _ in factors)
    signed = ".".join(b64(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "k1"}, claims))
    digest = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(signed.encode()).digest()
    size = (modulus.bit_length() + 7) // 8
    padded = b"\0\1" + b"\xff" * (size - len(digest) - 3) + b"\0" + digest  # RFC 8017, section 9.2
    signature = 0
    for factor, order in factors:  # by the Chinese remainder theorem, because a 9216-bit power takes seconds
        rest = modulus // factor
        signature += pow(int.from_bytes(padded), pow(exponent, -1, order), factor) * rest * pow(rest, -1, factor)
    signature %= modulus
    return Secret(f"{signed}.{b64(signature.to_bytes(size))}")


@pytest.mark.parametrize(
    ("powers", "exponent", "accepted"),
    [
        ((1, 1), 65537, True),
        ((2, 1), 65537, True),
        ((5, 4), 65537, False),
        ((1, 1), 2**31 - 1, True),
        ((1, 1), 2**61 - 1, False),
    ],
)
def test_r_09_an_rsa_key_that_is_costly_to_use_verifies_nothing(check, claims, rsa, powers, exponent, accepted):
    numbers = rsa.private_key.private_numbers()
    factors = [
        (prime**power, prime ** (power - 1) * (prime - 1))
        for prime, power in zip((numbers.p, numbers.q), powers, strict=True)
    ]
    modulus = math.prod(factor for factor, _ in factors)
    token = rs256_by_hand(claims(), factors, exponent)
    key = {"kty": "RSA", "kid": "k1"} | {
        name: b64(number.to_bytes((number.bit_length() + 7) // 8)) for name, number in (("n", modulus), ("e", exponent))
    }
    rules = replace(RULES, algorithms=("RS256",))
    if accepted:
        assert check(token, [key], rules=rules)[0].identity.subject == "7"
    else:
        refused(check, token, [key], rules=rules, match="signature")


def test_private_members_and_certificates_of_a_key_are_ignored(check, claims, ec):
    key = {**ec.as_dict(private=True), "kid": "k1", "x5c": "not a list", "x5u": 5, "d": "AAAA"}
    assert check(sign(ec, claims()), [key])[0]


# --- times and subject ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "offset"),
    [
        ("exp", -60),
        ("exp", -61),
        ("exp", -3600),
        ("iat", 61),
        ("iat", 3600),
        ("iat", -661),
        ("iat", -86400),
        ("nbf", 61),
    ],
)
def test_o_29_a_time_outside_the_skew_is_refused(check, claims, ec, now, claim, offset):
    refused(check, sign(ec, claims(**{claim: int(now.timestamp()) + offset})), match=claim)


@pytest.mark.parametrize(
    ("claim", "offset"),
    [("exp", -59), ("exp", 0), ("iat", 60), ("iat", -660), ("nbf", 60), ("nbf", -60), ("exp", 10**9)],
)
def test_o_29_a_time_within_the_skew_passes(check, claims, ec, now, claim, offset):
    assert check(sign(ec, claims(**{claim: int(now.timestamp()) + offset})))[0]


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", ["1800000000", True, -1, 10**15, 10**39, [], {}, 1e300])
def test_o_29_a_time_is_a_number_that_is_one(check, claims, ec, claim, value):
    refused(check, sign(ec, claims(**{claim: value})), match=claim)


@pytest.mark.parametrize("claim", ["exp", "iat", "sub"])
def test_o_29_what_is_required_may_not_be_missing(check, claims, ec, claim):
    refused(check, sign(ec, claims(**{claim: None})), match=claim)


def test_o_29_a_time_may_have_a_fraction(check, claims, ec, now):
    stamp = now.timestamp() + 0.5
    assert check(sign(ec, claims(iat=stamp)))[0].issued_at == now + timedelta(seconds=0.5)


@pytest.mark.parametrize("subject", ["", 7, True, ["7"], "s" * 256])
def test_o_29_a_subject_is_a_short_text(check, claims, ec, subject):
    refused(check, sign(ec, claims(sub=subject)), match="sub")


@pytest.mark.parametrize("subject", ["Sub", "sub", "SUB", " sub", "sub ", "00007", "s" * 255])
def test_o_34_a_subject_stays_as_it_is_byte_for_byte(check, claims, ec, subject):
    assert check(sign(ec, claims(sub=subject)))[0].identity.subject == subject


# --- at_hash --------------------------------------------------------------------------------------


def test_o_30_a_hash_of_another_access_token_is_refused(check, claims, ec):
    refused(check, sign(ec, claims(at_hash=half_hash("sha256", Secret("at-2")))), match="at_hash")


@pytest.mark.parametrize("value", ["", "x", 5, True, [], "same_with_padding", "whole_hash", "hex"])
def test_o_30_a_hash_in_another_form_is_refused(check, claims, ec, value):
    right = half_hash("sha256")
    digest = hashlib.sha256(ACCESS.reveal().encode()).digest()
    spelled = {"same_with_padding": right + "==", "whole_hash": b64(digest), "hex": digest[:16].hex()}
    refused(
        check, sign(ec, claims(at_hash=spelled.get(value, value) if isinstance(value, str) else value)), match="at_hash"
    )


def test_o_30_r_05_a_hash_that_cannot_be_checked_is_refused(check, claims, ec):
    refused(check, sign(ec, claims(at_hash=half_hash("sha256"))), access_token=None, match="at_hash")
    assert check(sign(ec, claims()), access_token=None)[0]


def test_o_30_r_05_every_allowed_algorithm_has_a_hash():
    assert all(hashlib.new(SIGNATURES[name].hash_name) for name in SIGNATURES)


# --- the form -------------------------------------------------------------------------------------


def mutilate(token: str):
    head, body, signature = token.split(".")
    return {
        "empty": "",
        "dots": "..",
        "one_segment": head,
        "two_segments": f"{head}.{body}",
        "four_segments": f"{token}.x",
        "five_segments_like_a_jwe": f"{head}.{body}.{signature}.{signature}.{signature}",
        "padding": f"{head}.{body}.{signature}==",
        "newline": token + "\n",
        "space": f"{head} .{body}.{signature}",
        "standard_alphabet": f"{head}.{body}.{signature[:-4]}+/+/",
        "non_ascii": f"{head}.{body}.é",
        "impossible_length": f"{head}.{body}.{signature[:-1]}",
        "empty_signature": f"{head}.{body}.",
        "detached": f"{head}..{signature}",
        "header_no_json": f"{b64(b'alg')}.{body}.{signature}",
        "header_no_object": f"{b64(b'[]')}.{body}.{signature}",
        "header_repeats": b64(b'{"alg":"ES256","alg":"none"}') + f".{body}.{signature}",
        "header_nested": b64(b'{"alg":"ES256","x":' + b"[" * 9000 + b"]" * 9000 + b"}") + f".{body}.{signature}",
        "second_spelling": f"{head}.{body}.{signature[:-1]}{chr(ord(signature[-1]) + 1)}",
        "one_megabyte": "A" * 1_000_000,
        "megabyte_of_dots": "." * 1_000_000,
        "long_signature": f"{head}.{body}.{'A' * 70_000}",
    }


@pytest.mark.parametrize("name", mutilate("a.b.c"))
def test_r_09_a_mutilated_token_is_refused_quickly_and_before_any_key_is_fetched(claims, ec, now, name):
    token = Secret(mutilate(sign(ec, claims()).reveal())[name])
    started = time.thread_time()
    with pytest.raises(MalformedResponseError):
        next(validate(token, RULES, nonce=NONCE, access_token=ACCESS, obtained_at=now))
    assert time.thread_time() - started < 0.1


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'{"iss":"a","iss":"b"}', b'{"exp":NaN}', b"\xff", b'{"sub":"\\ud800"}']
)
def test_f_24_claims_that_are_no_strict_json_are_refused(claims, ec, now, body):
    with pytest.raises(MalformedResponseError):
        next(validate(sign(ec, body), RULES, nonce=NONCE, access_token=ACCESS, obtained_at=now))


def test_r_09_a_compressed_payload_is_not_unpacked(check, claims, ec):
    refused(check, sign(ec, b"\x1f\x8b" + b"x" * 100, zip="DEF"), match="claims")


@given(
    st.text(max_size=200)
    | st.from_regex(r"[A-Za-z0-9_-]{1,40}\.[A-Za-z0-9_-]{1,40}\.[A-Za-z0-9_-]{0,40}", fullmatch=True)
)
def test_no_text_is_an_id_token(now, text):
    with pytest.raises(MalformedResponseError):
        next(validate(Secret(text), RULES, nonce=NONCE, access_token=ACCESS, obtained_at=now))


# --- refreshed tokens -----------------------------------------------------------------------------


@pytest.fixture
def fresh(now):
    def build(token):
        return TokenSet(ACCESS, now, refresh_token=Secret("rt2"), id_token=token)

    return build


def test_o_32_a_refreshed_token_about_the_same_account_is_kept(fresh, claims, ec, answer, drive):
    tokens = fresh(sign(ec, claims(nonce=None)))
    kept, _ = drive(check_refreshed(tokens, RULES, subject="7"), [answer({"keys": [public(ec)]})])
    assert kept is tokens


def test_o_32_without_an_id_token_there_is_nothing_to_check(fresh, drive):
    tokens = fresh(None)
    assert drive(check_refreshed(tokens, RULES, subject="7"), []) == (tokens, [])


@pytest.mark.parametrize("subject", ["8", "07", "7 "])
def test_o_32_another_account_is_an_error(fresh, claims, ec, answer, drive, subject):
    with pytest.raises(AccountMismatchError):
        drive(
            check_refreshed(fresh(sign(ec, claims(sub=subject))), RULES, subject="7"), [answer({"keys": [public(ec)]})]
        )


def test_o_32_another_issuer_is_an_error(fresh, claims, ec, answer, drive):
    tokens = fresh(sign(ec, claims(iss="https://evil.example")))
    with pytest.raises(IssuerMismatchError):
        drive(check_refreshed(tokens, RULES, subject="7"), [answer({"keys": [public(ec)]})])


@pytest.mark.parametrize("failure", ["aud", "signature", "form", "expired", "unavailable", "network", "html"])
def test_o_32_a_token_that_proves_nothing_is_dropped_and_never_costs_the_new_refresh_token(
    fresh, claims, ec, other_ec, answer, drive, failure
):
    token = {
        "aud": sign(ec, claims(aud="client-2")),
        "signature": sign(other_ec, claims()),
        "form": Secret("x.y"),
        "expired": sign(ec, claims(exp=1)),
    }.get(failure, sign(ec, claims()))
    reply = {
        "unavailable": answer(b"", 503),
        "network": TransportError("down", request_sent=True),
        "html": answer(b"<html>", content_type="text/html"),
    }.get(failure, answer({"keys": [public(ec)]}))
    kept, _ = drive(check_refreshed(fresh(token), RULES, subject="7"), [reply])
    assert kept.id_token is None
    assert kept == replace(fresh(None))


def test_a_refusal_names_the_check_and_no_value(check, claims, ec):
    for changes in (
        {"aud": "CANARY"},
        {"azp": "CANARY"},
        {"nonce": "CANARY"},
        {"at_hash": "CANARY"},
        {"iss": "CANARY"},
        {"exp": "CANARY"},
    ):
        with pytest.raises(SocialVaultError) as caught:
            check(sign(ec, claims(**changes)))
        assert "CANARY" not in str(caught.value)
