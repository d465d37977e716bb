"""What an application chooses, refused by name before the first request."""

import asyncio
from ipaddress import ip_network

import pytest

from socialvault import LocalKeyring, Vault
from socialvault.exceptions import ConfigurationError
from socialvault.http.addresses import Proxies
from socialvault.http.limits import RateLimits
from socialvault.http.settings import Options, check_callable, settings_of, settled
from socialvault.providers import X

KEYS = LocalKeyring([LocalKeyring.generate()])


def named(slug):
    """X under a slug of its own."""
    return type("Named", (X,), {"slug": slug})(client_id="c", client_secret="s")


@pytest.fixture
def vault_of():
    vaults = []

    def make(redirect_uri="https://app.example/api/v1/oauth/{provider}/callback", slug="x"):
        vaults.append(Vault(providers=[named(slug)], store=":memory:", keys=KEYS, redirect_uri=redirect_uri))
        return vaults[-1]

    yield make
    for vault in vaults:
        vault.close()


def refusal(vault, /, **options):
    with pytest.raises(ConfigurationError) as raised:
        settings_of(vault, options)
    assert raised.value.argument == ""
    return str(raised.value)


# --- what comes from the vault --------------------------------------------------------------------


def test_without_options_everybody_may_ask_and_limits_are_on(vault_of):
    chosen = settings_of(vault_of(), {})
    assert chosen.public_url == "https://app.example/api/v1"
    assert chosen.origins == {"https://app.example"}
    assert (chosen.allow_ips, chosen.trusted_proxies, chosen.rate_limits) == (None, Proxies(), RateLimits())


def test_addresses_are_below_what_stands_before_the_callback(vault_of):
    chosen = settings_of(vault_of(), {})
    assert chosen.url("/oauth/x/start") == "https://app.example/api/v1/oauth/x/start"
    assert chosen.path("/oauth/x/start") == "/api/v1/oauth/x/start"
    bare = settings_of(vault_of("https://app.example/oauth/{provider}/callback"), {})
    assert (bare.url("/health"), bare.path("/health")) == ("https://app.example/health", "/health")


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://app.example/{provider}/callback",
        "https://app.example/oauth/x/callback",
        "https://app.example/oauth/{provider}/callback/",
        "https://app.example/oauth/{provider}",
        "https://app.example/oauth/callback?p={provider}",
        "https://app.example/{provider}/oauth/{provider}/callback",
    ],
)
def test_a_redirect_uri_that_no_route_answers_is_refused(vault_of, redirect_uri):
    message = refusal(vault_of(redirect_uri))
    assert message.startswith("redirect_uri: ")
    assert "/oauth/{provider}/callback" in message


@pytest.mark.parametrize("slug", ["connections", "platforms"])
def test_a_slug_that_the_routes_need_is_refused(vault_of, slug):
    message = refusal(vault_of(slug=slug))
    assert message.startswith("providers: ")
    assert slug in message


# --- each option ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["orgins", "vault", "owner", "rate_limit"])
def test_an_unknown_option_is_named_with_those_there_are(vault_of, name):
    message = refusal(vault_of(), **{name: 1})
    assert name in message
    assert all(known in message for known in Options.__annotations__)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rate_limits", "600/minute"),
        ("rate_limits", {"per_ip": "1/minute"}),
        ("rate_limits", 600),
        ("origins", "https://spa.example"),
        ("origins", None),
        ("origins", ["spa.example"]),
        ("origins", ["http://spa.example"]),
        ("origins", ["https://"]),
        ("origins", ["https://user@spa.example"]),
        ("origins", ["https://user:pw@spa.example"]),
        ("origins", ["https://spa.example/"]),
        ("origins", ["https://spa.example/app"]),
        ("origins", ["https://spa.example?x"]),
        ("origins", ["https://spa.example#x"]),
        ("origins", ["https://spa.example:port"]),
        ("origins", ["https://spa.example:99999"]),
        ("origins", ["https://[::1"]),
        ("origins", ["null"]),
        ("origins", ["*"]),
        ("origins", [""]),
        ("origins", [b"https://spa.example"]),
        ("origins", [None]),
        ("origins", ["https://bücher.example"]),  # browsers send Punycode
        ("origins", ["ftp://spa.example"]),
        ("allow_ips", "10.0.0.0/8"),
        ("allow_ips", 10),
        ("allow_ips", ["10.0.0.1/8"]),  # which of the two is meant?
        ("allow_ips", ["somewhere"]),
        ("allow_ips", ["10.0.0.0/33"]),
        ("allow_ips", [None]),
        ("allow_ips", [1]),  # which would be 0.0.0.1
        ("allow_ips", ["unix"]),
        ("trusted_proxies", "10.0.0.0/8"),
        ("trusted_proxies", None),
        ("trusted_proxies", ["proxy.example"]),
        ("trusted_proxies", ["*"]),
    ],
)
def test_an_option_that_cannot_be_used_is_named(vault_of, name, value):
    assert refusal(vault_of(), **{name: value}).startswith(name)


@pytest.mark.parametrize("many", [list, tuple, set, frozenset])
def test_networks_and_origins_come_in_any_collection(vault_of, many):
    chosen = settings_of(
        vault_of(),
        {
            "origins": many(["https://spa.example"]),
            "allow_ips": many(["192.0.2.0/24"]),
            "trusted_proxies": many(["10.0.0.1"]),
        },
    )
    assert chosen.origins == {"https://app.example", "https://spa.example"}
    assert chosen.allow_ips == (ip_network("192.0.2.0/24"),)
    assert chosen.trusted_proxies == Proxies((ip_network("10.0.0.1/32"),))


def test_a_unix_socket_may_be_a_trusted_proxy(vault_of):
    chosen = settings_of(vault_of(), {"trusted_proxies": ["unix", "10.0.0.0/8"]})
    assert chosen.trusted_proxies == Proxies((ip_network("10.0.0.0/8"),), unix=True)


@pytest.mark.parametrize(
    ("given", "network"),
    [("::ffff:10.0.0.0/104", "10.0.0.0/8"), ("::ffff:192.0.2.1", "192.0.2.1/32"), ("2001:db8::/32", "2001:db8::/32")],
)
def test_networks_are_kept_as_addresses_are_read(vault_of, given, network):
    assert settings_of(vault_of(), {"allow_ips": [given]}).allow_ips == (ip_network(network),)


def test_an_empty_list_of_addresses_allows_nobody(vault_of):
    assert settings_of(vault_of(), {"allow_ips": []}).allow_ips == ()


def test_limits_can_be_turned_off_and_chosen(vault_of):
    assert settings_of(vault_of(), {"rate_limits": None}).rate_limits is None
    chosen = RateLimits(per_ip=None, per_owner="1/minute")
    assert settings_of(vault_of(), {"rate_limits": chosen}).rate_limits is chosen


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://spa.example", "https://spa.example"),
        ("HTTPS://SPA.Example", "https://spa.example"),
        ("https://spa.example:443", "https://spa.example"),
        ("https://spa.example:8443", "https://spa.example:8443"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:5173", "http://[::1]:5173"),
        ("https://[2001:DB8::1]:443", "https://[2001:db8::1]"),
    ],
)
def test_origins_are_kept_as_browsers_write_them(vault_of, given, origin):
    assert settings_of(vault_of(), {"origins": [given]}).origins == {"https://app.example", origin}


@pytest.mark.parametrize(
    ("redirect_uri", "origin"),
    [
        ("https://App.Example:443/oauth/{provider}/callback", "https://app.example"),
        ("https://app.example:8443/x/oauth/{provider}/callback", "https://app.example:8443"),
        ("http://127.0.0.1:8000/oauth/{provider}/callback", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/oauth/{provider}/callback", "http://[::1]:8000"),
        ("http://localhost/oauth/{provider}/callback", "http://localhost"),
    ],
)
def test_the_origin_of_the_redirect_uri_is_always_one_of_ours(vault_of, redirect_uri, origin):
    assert settings_of(vault_of(redirect_uri), {"origins": []}).origins == {origin}


# --- functions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["user-42", None, 42])
def test_what_is_no_function_is_refused_by_name(value):
    with pytest.raises(ConfigurationError, match=f"owner must be a function, not {type(value).__name__}"):
        check_callable(value, "owner")


async def test_an_answer_that_nobody_can_await_is_refused_by_name():
    async def later():
        """Never run."""

    waiting = asyncio.get_running_loop().create_future()
    for answer in (later(), waiting):
        with pytest.raises(ConfigurationError, match="owner returns something to await"):
            settled(answer, "owner")
    assert settled("user-42", "owner") == "user-42"


def test_a_function_is_returned():
    assert check_callable(len, "owner") is len
