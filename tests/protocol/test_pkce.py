from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from socialvault.model.secret import Secret
from socialvault.protocol import pkce


def test_o_06_the_challenge_is_the_one_of_rfc_7636_appendix_b():
    verifier = Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert pkce.challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_o_06_every_verifier_is_fresh_and_has_256_bits():
    verifiers = {pkce.new_verifier().reveal() for _ in range(1000)}
    assert len(verifiers) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", verifier) for verifier in verifiers)


def test_o_06_a_verifier_shows_in_no_repr():
    verifier = pkce.new_verifier()
    assert verifier.reveal() not in repr(verifier)


@given(st.text("abcXYZ019-._~", min_size=43, max_size=128))
def test_o_06_a_challenge_is_never_its_verifier(verifier):
    challenge = pkce.challenge(Secret(verifier))
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", challenge)
    assert challenge != verifier
