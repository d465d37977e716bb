"""Two client secrets while one replaces the other: no call fails, and nobody is asked twice without need."""

from __future__ import annotations

from base64 import b64decode
from urllib.parse import parse_qsl, unquote_plus

import pytest

from socialvault.exceptions import (
    ClientRejectedError,
    ConfigurationError,
    MalformedResponseError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    ReauthorizationRequiredError,
    TransportError,
)
from socialvault.model.secret import Secret
from socialvault.protocol.messages import HttpResponse
from socialvault.providers.registry import known_slugs

NEW, OLD = "new s3cret&", "old s3cret:"
REJECTIONS = {
    "invalid_client": (401, {"error": "invalid_client"}),
    "in_a_400": (400, {"error": "invalid_client"}),
    "in_a_200": (200, {"error": "invalid_client"}),
    "unauthorized_client": (400, {"error": "unauthorized_client"}),
    "github": (200, {"error": "incorrect_client_credentials"}),
}
#: Whatever else may be answered: the first answer counts, and the secret is not tried again.
OTHERWISE = {
    "dead_grant": (400, {"error": "invalid_grant"}, ReauthorizationRequiredError),
    "slow_down": (429, {"error": "invalid_client"}, RateLimitedError),
    "down": (503, {"error": "invalid_client"}, ProviderUnavailableError),
    "unreadable": (401, b"<html>invalid_client", MalformedResponseError),
    "unheard_of": (400, {"error": "out_of_cheese"}, ProviderError),
}


class StrictServer:
    """Plays a provider that knows the client by one secret, and keeps what it was shown."""

    def __init__(self, inner, secret, rejection):
        self._inner, self._secret, self._rejection = inner, secret, rejection
        self.shown = []
        self.requests = []

    def __call__(self, request):
        secret = shown_secret(request)
        if secret is None:
            return self._inner(request)
        self.shown.append(secret)
        self.requests.append(request)
        return self._inner(request) if secret == self._secret else self._rejection


def shown_secret(request):
    """Read the client secret that a request shows in its header or form; None where it shows none."""
    header = dict(request.headers).get("Authorization", "")
    if header.startswith("Basic "):
        return unquote_plus(b64decode(header.removeprefix("Basic ")).decode().partition(":")[2])
    return dict(parse_qsl(request.body.decode())).get("client_secret")


def without_secret(request):
    form = [(key, value) for key, value in parse_qsl(request.body.decode()) if key != "client_secret"]
    headers = [header for header in request.headers if not header[1].startswith("Basic ")]
    return request.method, request.url, form, headers, request.untrusted_host


@pytest.fixture(params=REJECTIONS.values(), ids=REJECTIONS)
def rejection(request, answer):
    status, body = request.param
    return answer(body, status)


#: Those that show a client secret to renew; the others extend a token, which needs none.
RENEWING = ("facebook", "linkedin", "oauth2", "openid_connect", "x")


@pytest.fixture(params=RENEWING)
def name(request):
    return request.param


@pytest.fixture
def overlapping(name, make):
    return make(name, client_secret=NEW, previous_client_secret=OLD)


@pytest.mark.parametrize("name", sorted({*RENEWING, *known_slugs()}))
def test_row_13_a_login_goes_on_while_the_provider_wants_the_previous_secret(
    overlapping, connect, server, rejection, name
):
    strict = StrictServer(server, OLD, rejection)
    grant = connect(overlapping, strict, f"{name}-account")
    assert grant.identity.subject == f"{name}-account"
    assert strict.shown[:2] == [NEW, OLD]
    first, second = strict.requests[:2]
    assert without_secret(first) == without_secret(second)


@pytest.fixture
def renewing(overlapping, serve, server, tokens):
    """Begin the renewal of a connection."""

    def begin():
        found = serve(overlapping.resolve(), server)
        return overlapping.renew(found, tokens("at.account", "rt.account"), "account")

    return begin


def test_row_13_a_renewal_goes_on_while_the_provider_wants_the_previous_secret(renewing, serve, server, rejection):
    strict = StrictServer(server, OLD, rejection)
    renewed = serve(renewing(), strict)
    assert renewed.access_token.reveal() == "at2.account"
    assert strict.shown == [NEW, OLD]
    assert without_secret(strict.requests[0]) == without_secret(strict.requests[1])


def test_once_the_provider_knows_the_new_secret_the_previous_one_is_not_shown(renewing, serve, server, answer):
    strict = StrictServer(server, NEW, answer({"error": "invalid_client"}, 401))
    serve(renewing(), strict)
    assert strict.shown == [NEW]


def test_f_19_where_neither_is_right_the_application_is_to_blame(renewing, serve, server, rejection):
    strict = StrictServer(server, "another", rejection)
    with pytest.raises(ClientRejectedError):
        serve(renewing(), strict)
    assert strict.shown == [NEW, OLD]


@pytest.mark.parametrize(("status", "body", "branch"), OTHERWISE.values(), ids=OTHERWISE)
def test_no_other_answer_shows_the_previous_secret(renewing, drive, answer, status, body, branch):
    sent = []
    with pytest.raises(branch) as caught:
        drive(renewing(), answer(body, status), requests=sent)
    assert type(caught.value) is branch
    assert [shown_secret(request) for request in sent] == [NEW]


@pytest.mark.parametrize(("status", "body", "branch"), OTHERWISE.values(), ids=OTHERWISE)
def test_the_second_answer_is_the_one_that_counts(renewing, drive, answer, rejection, status, body, branch):
    with pytest.raises(branch) as caught:
        drive(renewing(), rejection, answer(body, status))
    assert type(caught.value) is branch


def test_f_10_a_second_request_without_an_answer_leaves_the_outcome_open(renewing, drive, rejection):
    with pytest.raises(TransportError) as caught:
        drive(renewing(), rejection, TransportError("no answer", request_sent=True))
    assert caught.value.request_sent


@pytest.mark.parametrize("previous", [None, "", Secret(""), NEW, Secret(NEW)], ids=str)
def test_without_another_secret_a_rejection_is_final(name, make, serve, server, answer, tokens, previous):
    provider = make(name, client_secret=NEW, previous_client_secret=previous)
    strict = StrictServer(server, OLD, answer({"error": "invalid_client"}, 401))
    found = serve(provider.resolve(), strict)
    with pytest.raises(ClientRejectedError):
        serve(provider.renew(found, tokens("at.account", "rt.account"), "account"), strict)
    assert strict.shown == [NEW]


@pytest.mark.parametrize("name", ["x", "linkedin", "oauth2", "openid_connect"])
def test_row_13_a_revocation_goes_on_while_the_provider_wants_the_previous_secret(
    overlapping, serve, server, answer, rejection, tokens
):
    found = serve(overlapping.resolve(), server)
    strict = StrictServer(lambda _: answer(), OLD, rejection)
    assert serve(overlapping.revoke(found, tokens()), strict) == "revoked"
    assert strict.shown == [NEW, OLD, NEW, OLD]  # each token on its own: nothing is remembered between two requests


def test_a_revocation_that_shows_no_client_secret_is_sent_once(make, drive, answer, tokens):
    facebook, sent = make("facebook", client_secret=NEW, previous_client_secret=OLD), []
    with pytest.raises(ClientRejectedError):
        drive(facebook.revoke(facebook.static_server, tokens()), answer({"error": {"code": 101}}, 400), requests=sent)
    assert [request.method for request in sent] == ["DELETE"]


def test_facebook_says_in_words_alone_that_a_secret_is_wrong(make, drive, answer, tokens):
    facebook, sent = make("facebook", client_secret=NEW, previous_client_secret=OLD), []
    wrong = {"error": {"message": "Error validating client secret.", "type": "OAuthException", "code": 1}}
    down = {"error": {"message": "An unknown error occurred", "type": "OAuthException", "code": 1}}
    renewal = facebook.renew(facebook.static_server, tokens(), "subject")
    with pytest.raises(ProviderUnavailableError):
        drive(renewal, answer(wrong, 400), answer(down, 400), requests=sent)
    assert [shown_secret(request) for request in sent] == [NEW, OLD]


@pytest.mark.parametrize("name", ["x", "oauth2", "openid_connect"])
@pytest.mark.parametrize(
    "options", [{"client_secret": None}, {"client_secret": NEW, "client_auth": "none"}], ids=["public", "unused"]
)
def test_a_previous_secret_without_a_current_one_is_a_mistake(make, name, options):
    with pytest.raises(ConfigurationError, match="previous_client_secret needs a client_secret"):
        make(name, **options, previous_client_secret=OLD)


def test_it_is_wrapped_and_never_printed(overlapping):
    assert overlapping.previous_client_secret == Secret(OLD)
    assert "previous" not in repr(overlapping)
    assert OLD not in repr(vars(overlapping))


def test_the_current_secret_is_still_the_one_that_stands_for_the_application(overlapping):
    assert overlapping.credentials.client_secret == Secret(NEW)


def test_a_provider_of_ones_own_needs_to_know_nothing_about_it(make, drive, answer, tokens):
    """What it builds is sent again with the other secret, whatever it put into the form."""

    class Own(type(make("oauth2"))):
        def refresh_form(self, stored):
            return {**super().refresh_form(stored), "tenant": "client_secret=7"}

    provider = Own(
        "client", NEW, previous_client_secret=OLD, slug="own", authorize_url="https://own.example/a",
        token_url="https://own.example/t", userinfo_url="https://own.example/me", client_auth="client_secret_post",
    )  # fmt: skip
    sent = []
    fresh: HttpResponse = answer({"access_token": "at"})
    drive(
        provider.renew(provider.static_server, tokens(), "s"), answer({"error": "invalid_client"}, 401), fresh,
        requests=sent,
    )  # fmt: skip
    assert [shown_secret(request) for request in sent] == [NEW, OLD]
    assert without_secret(sent[0]) == without_secret(sent[1])


def test_every_provider_but_those_that_extend_was_asked(make):
    assert {slug for slug in known_slugs() if make(slug).renewal != "extend"} <= set(RENEWING)
