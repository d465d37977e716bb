"""Who is asking, behind which proxies."""

from ipaddress import ip_address, ip_network

import pytest

from socialvault.http.addresses import Proxies, client_address, limited_as, read_address, within

PROXIES = Proxies((ip_network("10.0.0.0/8"), ip_network("fd00::/8")))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1\t", "192.0.2.1"),
        ("192.0.2.1:51234", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ("::FFFF:C000:0201", "192.0.2.1"),
    ],
)
def test_addresses_are_read_with_and_without_a_port(text, address):
    assert read_address(text) == ip_address(address)


@pytest.mark.parametrize(
    "text",
    ["", " ", "unknown", "_hidden", "192.0.2", "192.0.2.256", "192.0.2.01", "1.2.3.4, 5.6.7.8", "[", "[]", "[::1", ":"],
)
def test_what_is_no_address_is_none(text):
    assert read_address(text) == (ip_address("::1") if text == "[::1" else None)


def test_an_address_with_a_zone_is_read_and_counted_with_its_site():
    assert limited_as(read_address("fe80::1%eth0")) == "fe80::/64"


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.7", None, "203.0.113.7"),
        ("203.0.113.7", "192.0.2.1", "203.0.113.7"),  # nobody trusts who says this
        ("10.0.0.1", None, None),  # a proxy that says nothing is not the client
        ("10.0.0.1", "", None),
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1:80", "192.0.2.1:5000", "192.0.2.1"),
        ("fd00::1", "2001:db8::9", "2001:db8::9"),
        ("[fd00::1]:80", "[2001:db8::9]:5000", "2001:db8::9"),
        ("::ffff:10.0.0.1", "::ffff:192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.66, 192.0.2.1", "192.0.2.1"),  # the left part is what the client made up
        ("10.0.0.1", "10.9.9.9, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1, 10.0.0.3, 10.0.0.2", "192.0.2.1"),  # several proxies
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),  # the client is within
        ("10.0.0.1", "192.0.2.1, garbage", None),
        ("10.0.0.1", "garbage, 10.0.0.2", None),
        ("10.0.0.1", "192.0.2.1,", None),
        ("10.0.0.1", "unknown", None),
        ("", "192.0.2.1", None),  # a unix socket: nobody knows who wrote that
        ("unix:", None, None),
    ],
)
def test_forwarded_addresses_are_believed_as_far_as_trusted_proxies_wrote_them(make_request, peer, forwarded, address):
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    found = client_address(make_request(peer=peer, headers=headers), PROXIES)
    assert found == (ip_address(address) if address else None)


def test_without_trusted_proxies_the_peer_counts(make_request):
    assert client_address(
        make_request(peer="10.0.0.1", headers={"x-forwarded-for": "192.0.2.1"}), Proxies()
    ) == ip_address("10.0.0.1")


@pytest.mark.parametrize(("forwarded", "address"), [("192.0.2.1", "192.0.2.1"), ("", None), ("10.0.0.9", "10.0.0.9")])
def test_what_comes_through_a_unix_socket_is_believed_where_that_is_said(make_request, forwarded, address):
    found = client_address(make_request(peer="", headers={"x-forwarded-for": forwarded}), Proxies(unix=True))
    assert found == (ip_address(address) if address else None)


def test_an_address_is_within_networks_of_its_own_version_alone():
    assert within(ip_address("10.1.2.3"), PROXIES.networks)
    assert within(ip_address("fd00::1"), PROXIES.networks)
    assert not within(ip_address("192.0.2.1"), PROXIES.networks)
    assert not within(ip_address("::1"), [ip_network("0.0.0.0/0")])
    assert not within(ip_address("10.0.0.1"), [ip_network("::/0")])


def test_an_ipv4_address_is_limited_alone_and_an_ipv6_one_with_its_site():
    assert limited_as(ip_address("192.0.2.1")) == "192.0.2.1"
    assert limited_as(ip_address("2001:db8:1:2:3:4:5:6")) == limited_as(ip_address("2001:db8:1:2::9"))
    assert limited_as(ip_address("2001:db8:1:2::9")) != limited_as(ip_address("2001:db8:1:3::9"))
