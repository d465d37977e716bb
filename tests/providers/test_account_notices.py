"""What Meta posts about an account is believed only when Meta signed it, for this application."""

from __future__ import annotations

import hashlib
import hmac
import json
import traceback
from base64 import urlsafe_b64encode
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from pathlib import Path

import pytest

from socialvault.model.notice import AccountNotice
from socialvault.providers import Facebook

ISSUED_AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PAYLOAD = {"algorithm": "HMAC-SHA256", "issued_at": int(ISSUED_AT.timestamp()), "user_id": "1234"}
NOTICE = AccountNotice("1234", ISSUED_AT)


def encode(data):
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def signature(payload, secret="s3cret"):
    return encode(hmac.new(secret.encode(), payload.encode(), hashlib.sha256).digest())


def signed(payload=PAYLOAD, secret="s3cret"):
    encoded = encode(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
    return f"{signature(encoded, secret)}.{encoded}"


@pytest.fixture
def facebook():
    return Facebook("client", "s3cret")


def test_only_a_provider_that_sends_notices_reads_them(make, name):
    provider = make(name)
    assert provider.account_notices is (name == "facebook")
    assert provider.read_account_notice(signed()) == (NOTICE if name == "facebook" else None)


@pytest.mark.parametrize(
    "changes",
    [{}, {"user_id": 1234}, {"algorithm": "hmac-sha256"}, {"expires": 1, "user": {"country": "de"}}],
    ids=["text", "number", "lower_case", "more_fields"],
)
def test_a_signed_notice_tells_whose_and_when(facebook, changes):
    assert facebook.read_account_notice(signed({**PAYLOAD, **changes})) == NOTICE


def test_padding_is_read_as_well(facebook):
    encoded = encode(json.dumps(PAYLOAD | {"user_id": "12345"}).encode())
    padded = encoded + "=" * (-len(encoded) % 4)
    assert padded != encoded
    assert facebook.read_account_notice(f"{signature(padded)}=.{padded}") == AccountNotice("12345", ISSUED_AT)


def test_a_notice_does_not_change():
    with pytest.raises(FrozenInstanceError):
        NOTICE.subject = "5678"


GOOD = signed()
SIGNATURE, ENCODED = GOOD.split(".")
OTHERS = encode(json.dumps({**PAYLOAD, "user_id": "5678"}).encode())
FORGERIES = {
    "another_secret": signed(secret="another"),
    "no_secret": signed(secret=""),
    "another_payload": f"{SIGNATURE}.{OTHERS}",
    "another_signature": f"{signature(OTHERS)}.{ENCODED}",
    "signature_of_the_decoded": f"{signature(json.dumps(PAYLOAD))}.{ENCODED}",
    "no_signature": f".{ENCODED}",
    "zeros": f"{'A' * 43}.{ENCODED}",
    "signature_alone": SIGNATURE,
    "payload_alone": ENCODED,
    "signature_cut": f"{SIGNATURE[:-1]}.{ENCODED}",
    "signature_longer": f"{SIGNATURE}A.{ENCODED}",
    "payload_cut": GOOD[:-1],
    "swapped": f"{ENCODED}.{SIGNATURE}",
    "more_dots": f"{GOOD}.",
    "a_third_part": f"{GOOD}.{ENCODED}",
    "padded_afterwards": f"{GOOD}=",
    "a_dot": ".",
    "empty": "",
    "newline": f"{GOOD}\n",
    "space": f" {GOOD}",
    "plain_base64": GOOD.replace("-", "+").replace("_", "/") + "+",
    "not_ascii": f"{SIGNATURE}.{ENCODED[:-1]}\u00e9",
    "surrogate": f"{SIGNATURE}.\ud800",
    "nul": f"{SIGNATURE}.\x00",
    "huge": "A" * 43 + "." + "A" * 10_000_000,
    "many_dots": "." * 10_000,
    "bytes": GOOD.encode(),
    "none": None,
}


@pytest.mark.parametrize("forged", FORGERIES.values(), ids=FORGERIES)
def test_what_meta_did_not_sign_is_no_notice(facebook, forged):
    assert facebook.read_account_notice(forged) is None


def test_every_letter_of_the_signature_counts(facebook):
    for place, letter in enumerate(SIGNATURE):
        forged = SIGNATURE[:place] + ("A" if letter != "A" else "B") + SIGNATURE[place + 1 :]
        assert facebook.read_account_notice(f"{forged}.{ENCODED}") is None
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    accepted = [one for one in last if facebook.read_account_notice(f"{SIGNATURE[:-1]}{one}.{ENCODED}")]
    assert accepted == [SIGNATURE[-1]]  # bits that base64 ignores count too


def without(*names):
    return {name: value for name, value in PAYLOAD.items() if name not in names}


NONSENSE = {
    "algorithm_none": {**PAYLOAD, "algorithm": "none"},
    "algorithm_sha1": {**PAYLOAD, "algorithm": "HMAC-SHA1"},
    "algorithm_list": {**PAYLOAD, "algorithm": ["HMAC-SHA256"]},
    "no_algorithm": without("algorithm"),
    "no_user": without("user_id"),
    "user_empty": {**PAYLOAD, "user_id": ""},
    "user_true": {**PAYLOAD, "user_id": True},
    "user_null": {**PAYLOAD, "user_id": None},
    "user_object": {**PAYLOAD, "user_id": {"id": "1234"}},
    "user_fraction": {**PAYLOAD, "user_id": 12.5},
    "no_time": without("issued_at"),
    "time_text": {**PAYLOAD, "issued_at": "1795348800"},
    "time_true": {**PAYLOAD, "issued_at": True},
    "time_negative": {**PAYLOAD, "issued_at": -1},
    "time_endless": {**PAYLOAD, "issued_at": 10**15},
    "of_a_login_with_code": {**PAYLOAD, "code": "AQB"},
    "of_a_login_with_token": {**PAYLOAD, "oauth_token": "EAA"},
    "list": [PAYLOAD],
    "text": "1234",
    "null": None,
    "no_json": b"{user_id: 1234}",
    "no_utf8": b'{"user_id": "\xff"}',
    "nothing": b" ",
    "repeated": b'{"algorithm":"HMAC-SHA256","issued_at":1795348800,"user_id":"1","user_id":"2"}',
    "nan": b'{"algorithm":"HMAC-SHA256","issued_at":NaN,"user_id":"1"}',
    "deep": b'{"a":' * 3000 + b"1" + b"}" * 3000,
    "too_long": {**PAYLOAD, "padding": "x" * 16 * 1024},
}


@pytest.mark.parametrize("payload", NONSENSE.values(), ids=NONSENSE)
def test_a_signed_payload_that_is_no_notice_is_none(facebook, payload):
    assert facebook.read_account_notice(signed(payload)) is None


@pytest.mark.parametrize("encoded", ["A", "AAAAA", "e30=="])
def test_a_signed_payload_that_is_no_base64_is_none(facebook, encoded):
    assert facebook.read_account_notice(f"{signature(encoded)}.{encoded}") is None


def test_l_01_reading_leaves_the_secret_in_no_frame_whatever_goes_wrong(monkeypatch):
    """Were it to raise all the same, the frames of this library would not show the secret."""
    from socialvault.providers._families import signed_request

    def broken(*_):
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(signed_request, "parse_object", broken)
    with pytest.raises(RuntimeError) as raised:
        Facebook("client", "CANARY-app-secret").read_account_notice(signed(secret="CANARY-app-secret"))
    shown = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
    package = str(Path(signed_request.__file__).parents[2])
    ours = [str(frame.locals) for frame in shown.stack if frame.filename.startswith(package)]
    assert len(ours) == 3
    assert "CANARY" not in "".join(ours)
