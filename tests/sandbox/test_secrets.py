"""An application changes its secret, with and without an overlap."""

import hashlib
import hmac

import pytest

from socialvault.exceptions import ConfigurationError
from socialvault.model.secret import Secret


@pytest.mark.parametrize("overlap", [True, False])
def test_the_old_secret_is_accepted_only_while_they_overlap(app, sandbox, overlap):
    old = app.secret
    changed = sandbox.change_secret(app.provider, overlap=overlap)
    assert changed.secret.reveal() != old
    assert (changed.previous_secret is not None) is overlap
    answers = {}
    for secret in (old, changed.secret.reveal()):
        app.secret = secret
        answers[secret] = app.exchange(app.consent()["code"]).status_code
    assert (answers[old] == 200) is overlap
    assert answers[changed.secret.reveal()] == 200
    assert sandbox.log.count(outcome="invalid_client") == (0 if overlap else 1)


def test_a_second_change_ends_the_overlap_of_the_first(x, sandbox):
    first, second = x.secret, sandbox.change_secret("x", overlap=True).secret.reveal()
    third = sandbox.change_secret("x", overlap=True).secret.reveal()
    assert len({first, second, third}) == 3
    for secret, status in ((first, 401), (second, 200), (third, 200)):
        x.secret = secret
        assert x.exchange(x.consent()["code"]).status_code == status


def test_a_changed_secret_outlives_another_registration_but_no_reset(sandbox):
    changed = sandbox.change_secret("x", overlap=True)
    again = sandbox.register("x")
    assert (again.secret, again.previous_secret) == (changed.secret, changed.previous_secret)
    assert sandbox.provider("x").credentials.client_secret == changed.secret
    sandbox.reset()
    assert sandbox.register("x").secret == changed.previous_secret
    assert sandbox.register("x").previous_secret is None


def test_changes_are_the_same_in_every_run(sandbox):
    changed = [sandbox.change_secret("x", overlap=False).secret for _ in range(2)]
    sandbox.reset()
    assert changed == [sandbox.change_secret("x", overlap=False).secret for _ in range(2)]


@pytest.mark.parametrize("wrapped", [str, Secret])
def test_an_application_can_be_registered_with_two_secrets(register, sandbox, wrapped):
    app = register("oidc", previous_secret=wrapped("from last year"))
    app.secret = "from last year"
    assert app.exchange(app.consent()["code"]).status_code == 200
    assert "from last year" not in repr(sandbox.register("oidc"))
    app.secret = "from another year"
    assert app.exchange(app.consent()["code"]).status_code == 401


def test_facebooks_proofs_and_app_tokens_are_made_with_either(facebook, sandbox):
    old, token = facebook.secret, sandbox.issue("facebook").access_token.reveal()
    new = sandbox.change_secret("facebook", overlap=True).secret.reveal()
    for secret in (old, new):
        proof = hmac.new(secret.encode(), token.encode(), hashlib.sha256).hexdigest()
        assert facebook.graph("/me", token, appsecret_proof=proof).status_code == 200
        assert facebook.debug(token, app_token=f"{facebook.client_id}|{secret}").status_code == 200
    sandbox.change_secret("facebook", overlap=False)
    assert facebook.graph("/me", token).status_code == 400
    assert facebook.debug(token).status_code == 400


def test_instagrams_exchange_takes_either(instagram, sandbox):
    short = instagram.connect()["access_token"]
    new = sandbox.change_secret("instagram", overlap=True).secret.reveal()
    assert instagram.prolonged(short).status_code == 200
    assert instagram.prolonged(short, client_secret=new).status_code == 200
    sandbox.change_secret("instagram", overlap=False)
    assert instagram.prolonged(short, client_secret=new).status_code == 400


def test_who_has_no_secret_can_not_change_it(sandbox):
    with pytest.raises(ConfigurationError, match="has no secret"):
        sandbox.change_secret("x", overlap=True, client_id="sandbox-x-public")
    with pytest.raises(ConfigurationError, match="register it first"):
        sandbox.change_secret("x", overlap=True, client_id="nobody")
