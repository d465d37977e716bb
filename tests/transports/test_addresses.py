from __future__ import annotations

import ipaddress

import httpcore
import httpx
import pytest

from socialvault.exceptions import ConfigurationError, TransportError
from socialvault.protocol.messages import HttpRequest
from socialvault.transports.addresses import AddressPolicy, is_public, read_target

PUBLIC = "198.41.0.4"
PUBLIC_IPV6 = "2606:4700::1111"


def named(url: str) -> HttpRequest:
    return HttpRequest("GET", url, untrusted_host=True)


# --- URLs -----------------------------------------------------------------------------------------


def test_a_target_is_taken_apart_and_its_repr_shows_no_query():
    target = read_target("https://Social.Example:8443/a/b?code=CANARY#fragment")
    assert target is not None
    assert (target.scheme, target.host, target.port) == ("https", "social.example", 8443)
    assert target.path == "/a/b?code=CANARY"
    assert repr(target) == "Target(https://social.example:8443)"


@pytest.mark.parametrize(
    ("url", "authority"),
    [("https://a.example/", "a.example"), ("http://a.example:80", "a.example"), ("http://[::1]:81/", "[::1]:81")],
)
def test_the_authority_leaves_out_the_scheme_s_own_port(url, authority):
    target = read_target(url)
    assert target is not None
    assert target.authority == authority


REFUSED_URLS = {
    "plain_http": "http://social.example/",
    "user_information": "http://localhost:80@attacker.example/",
    "user_information_https": "https://social.example@attacker.example/",
    "empty_user_information": "https://@social.example/",
    "another_port": "https://social.example:8443/",
    "port_22": "https://social.example:22/",
    "port_0": "https://social.example:0/",
    "ipv4": f"https://{PUBLIC}/",
    "ipv4_loopback": "https://127.0.0.1/",
    "ipv6": f"https://[{PUBLIC_IPV6}]/",
    "ipv6_loopback": "https://[::1]/",
    "ipv4_mapped": "https://[::ffff:127.0.0.1]/",
    "metadata_service": "https://169.254.169.254/latest/meta-data/",
    "decimal": "https://2130706433/",
    "hexadecimal_with_dot": "https://0x7f.1/",
    "hexadecimal": "https://0x7f000001/",
    "octal": "https://0177.0.0.1/",
    "short": "https://127.1/",
    "name_that_ends_in_a_number": "https://social.example.1/",
    "name_that_ends_in_hexadecimal": "https://social.0x7f/",
    "trailing_dot": "https://127.0.0.1./",
    "trailing_dot_name": "https://social.example./",
    "single_label": "https://localhost/",
    "internal": "https://intranet/",
    "empty_label": "https://social..example/",
    "non_ascii": "https://soci\u00e1l.example/",
    "full_width_digits": "https://\uff11\uff12\uff17.0.0.1/",
    "backslash": "https://social.example\\@attacker.example/",
    "newline": "https://social.example/\n",
    "option": "--flag",
    "file": "file:///etc/passwd",
    "too_long": f"https://{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 63}.example/",
}


@pytest.mark.parametrize("name", REFUSED_URLS)
def test_o_40_o_42_o_43_r_26_a_host_that_somebody_else_named_must_look_public(drive, name):
    def resolve(host, port):
        raise AssertionError("never asked")

    with pytest.raises(ConfigurationError):
        drive(resolve=resolve).send(named(REFUSED_URLS[name]))


@pytest.mark.parametrize(
    "url",
    [
        "https://social.example/",
        "https://social.example:443/x",
        "https://xn--bcher-kva.example/",
        "https://a_b.c-d.io/",
    ],
)
def test_o_40_public_names_pass(url):
    target = read_target(url)
    assert target is not None
    AddressPolicy().check(target)


def test_o_40_the_operator_may_allow_ports_and_hosts():
    policy = AddressPolicy(frozenset({"10.0.0.8", "intranet:8443"}), frozenset({443, 9443}))
    for url in ("https://social.example:9443/", "https://10.0.0.8/", "https://intranet:8443/"):
        policy.check(read_target(url))  # type: ignore[arg-type]
    for url in ("https://10.0.0.8:8443/", "https://intranet/", "http://10.0.0.8/", "https://social.example:8443/"):
        with pytest.raises(ConfigurationError):
            policy.check(read_target(url))  # type: ignore[arg-type]
    assert policy.admits("10.0.0.8", 443, ["10.0.0.8"])
    assert not policy.admits("10.0.0.8", 8443, ["10.0.0.8"])


def test_o_40_plain_http_is_refused_to_an_allowed_host_too(drive):
    with pytest.raises(ConfigurationError):
        drive(allowed_hosts={"127.0.0.1:80"}).send(named("http://127.0.0.1:80/"))


def test_o_41_behind_a_proxy_only_allowed_hosts_are_named(serve, drive):
    proxy = serve(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    driver = drive(proxy=f"http://127.0.0.1:{proxy.port}", allowed_hosts={"social.example"})
    with pytest.raises(ConfigurationError):
        driver.send(named("https://other.example/"))
    assert proxy.received == []
    with pytest.raises(TransportError):
        driver.send(named("https://social.example/"))
    assert proxy.received[0].path == "social.example:443"


# --- addresses ------------------------------------------------------------------------------------

REFUSED_ADDRESSES = [
    "0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.0.1", "168.63.129.16",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1",
    "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:a9fe:a9fe", "64:ff9b::7f00:1",
    "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::", "2001:10::1", "2001:20::1",
    "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1", "2620:4f:8000::1", "5f00::1", "fc00::1",
    "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "4000::1",
    "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "localhost", "",
]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED_ADDRESSES)
def test_o_42_an_address_that_is_not_on_the_public_internet_is_refused(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "172.32.0.1", "100.128.0.1", PUBLIC_IPV6, "2a00:1450:4001::1"])
def test_o_42_a_public_address_is_accepted(address):
    assert is_public(address)


def test_o_42_what_python_calls_global_is_not_enough():
    for address in ("64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1"):
        assert ipaddress.ip_address(address).is_global or ipaddress.ip_address(address).is_multicast
        assert not is_public(address)


# --- names, and what they lead to -----------------------------------------------------------------


@pytest.fixture
def internet(monkeypatch, certificate, serve, respond):
    """A server that is reached at a public address, and a note of every address that was connected to."""
    server = serve(respond(200, b"public"), tls=True)
    certificate.server.sni_callback = lambda sock, name, context: server.server_names.append(name)
    connected: list[str] = []

    def redirected(host: str, port: int) -> tuple[str, int]:
        connected.append(host)
        return ("127.0.0.1", server.port) if host in (PUBLIC, PUBLIC_IPV6) else (host, port)

    sync_connect, async_connect = httpcore.SyncBackend.connect_tcp, httpcore.AnyIOBackend.connect_tcp

    def connect(self, host, port, timeout=None, local_address=None, socket_options=None):
        return sync_connect(self, *redirected(host, port), timeout)

    async def connect_async(self, host, port, timeout=None, local_address=None, socket_options=None):
        return await async_connect(self, *redirected(host, port), timeout)

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect_async)
    server.connected = connected
    yield server
    certificate.server.sni_callback = None


def test_o_41_the_checked_address_is_connected_to_and_the_name_stays_in_tls_and_host(drive, internet):
    asked = []

    def resolve(host, port):
        asked.append((host, port))
        return (PUBLIC_IPV6, PUBLIC)

    response = drive(resolve=resolve).send(named("https://social.example/x"))
    assert response.body == b"public"
    assert asked == [("social.example", 443)]
    assert internet.connected == [PUBLIC_IPV6]
    assert internet.server_names == ["social.example"]
    assert internet.received[0].headers["host"] == "social.example"


def test_o_41_a_rebinding_name_server_leads_to_no_other_address(drive, internet):
    answers = iter([(PUBLIC,), ("127.0.0.1",), ("127.0.0.1",)])
    driver = drive(resolve=lambda host, port: next(answers))
    assert driver.send(named("https://social.example/")).body == b"public"
    if driver.runner is None:
        driver.transport.close()
    else:
        driver.runner.run(driver.transport.aclose())
    with pytest.raises(TransportError) as caught:
        driver.send(named("https://social.example/"))
    assert caught.value.request_sent is False
    assert str(caught.value) == "social.example: the name leads to an address that is not public"
    assert internet.connected == [PUBLIC]


@pytest.mark.parametrize("addresses", [(PUBLIC, "127.0.0.1"), ("10.0.0.1", PUBLIC), (PUBLIC, "fe80::1"), ("::1",)])
def test_o_41_every_address_is_checked_before_any_is_connected_to(drive, internet, addresses):
    with pytest.raises(TransportError) as caught:
        drive(resolve=lambda host, port: addresses).send(named("https://social.example/"))
    assert caught.value.request_sent is False
    assert internet.connected == []


def test_o_41_a_connection_of_a_trusted_request_is_no_way_round_the_check(drive, serve, respond):
    server = serve(respond(), tls=True)
    driver = drive(resolve=lambda host, port: ("127.0.0.1",), allowed_ports={server.port})
    url = server.url(host="social.example")
    assert driver.send(HttpRequest("GET", url)).status == 200
    with pytest.raises(TransportError):
        driver.send(named(url))
    assert len(server.received) == 1


def test_o_42_an_allowed_host_may_be_private(drive, serve, respond):
    server = serve(respond(), tls=True)
    driver = drive(resolve=lambda host, port: ("127.0.0.1",), allowed_hosts={f"social.example:{server.port}"})
    assert driver.send(named(server.url(host="social.example"))).status == 200


def test_o_43_metadata_that_leads_to_the_metadata_service_connects_to_nothing(drive, internet):
    driver = drive(resolve=lambda host, port: ("169.254.169.254",))
    with pytest.raises(TransportError):
        driver.send(named("https://issuer.example/.well-known/openid-configuration"))
    assert internet.connected == []


def test_o_41_api_calls_to_a_named_host_obey_the_same_policy(call_api, internet):
    answers = iter([(PUBLIC,), ("127.0.0.1",)])
    api = call_api(resolve=lambda host, port: next(answers), untrusted_host=True)
    assert api.request("GET", "https://social.example/").content == b"public"
    with pytest.raises(httpx.ConnectError):
        api.request("GET", "https://other.example/")
    for refused in (
        "https://127.0.0.1/",
        "http://social.example/",
        "https://social.example:8443/",
        "https://a@social.example/",
    ):
        with pytest.raises(ConfigurationError):
            api.request("GET", refused)
    assert internet.connected == [PUBLIC]


def test_o_41_a_redirect_of_an_api_call_to_a_named_host_is_checked_too(call_api, internet, serve, respond):
    loopback = serve(respond(), tls=True)
    internet.handler = lambda sock, _: sock.sendall(respond(302, b"", f"Location: {loopback.url()}"))
    api = call_api(resolve=lambda host, port: (PUBLIC,), untrusted_host=True)
    with pytest.raises(ConfigurationError):
        api.request("GET", "https://social.example/", follow_redirects=True)
    assert loopback.received == []
