"""``KeyChain``: moving between key services."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from support.key_services import CONTEXT, KEY, SHORT
from support.openbao import ROOT_TOKEN

from socialvault.exceptions import KeyNotFoundError, KeyServiceUnavailableError, MalformedEnvelopeError, TamperedError
from socialvault.keys.chain import KeyChain
from socialvault.keys.hashicorp_transit import HashicorpTransit
from socialvault.keys.local import LocalKeyring
from socialvault.sandbox.contracts import KeyServiceContract

if TYPE_CHECKING:
    from support.key_services import Bao

FIRST, SECOND, THIRD = (LocalKeyring.generate() for _ in range(3))


class TestKeyChain(KeyServiceContract):
    @pytest.fixture
    def open_service(self) -> Callable[[], KeyChain]:
        return lambda: KeyChain(LocalKeyring([FIRST]), LocalKeyring([SECOND]))

    @pytest.fixture
    def other(self) -> KeyChain:
        return KeyChain(LocalKeyring([SECOND]), LocalKeyring([THIRD]))

    @pytest.fixture
    def successor(self) -> KeyChain:
        return KeyChain(LocalKeyring([THIRD]), LocalKeyring([FIRST]))


@pytest.fixture
def transit(bao: Bao) -> HashicorpTransit:
    return HashicorpTransit(bao.url, bao.first, token=ROOT_TOKEN, timeout=SHORT)


def test_there_and_back_again(transit: HashicorpTransit) -> None:
    local = LocalKeyring([FIRST])
    before = local.wrap(KEY, CONTEXT)
    there = KeyChain(transit, local)
    assert there.unwrap(before, CONTEXT) == KEY
    moved = there.wrap(KEY, CONTEXT)
    assert there.primary_id == transit.primary_id
    assert transit.unwrap(moved, CONTEXT) == KEY
    back = KeyChain(local, transit)
    assert back.unwrap(moved, CONTEXT) == KEY
    assert local.unwrap(back.wrap(KEY, CONTEXT), CONTEXT) == KEY
    assert there.unwrap(moved, CONTEXT) == back.unwrap(moved, CONTEXT)


def test_ids_are_listed_when_all_are_known(transit: HashicorpTransit) -> None:
    one, two = LocalKeyring([FIRST]), LocalKeyring([SECOND, THIRD])
    assert KeyChain(one, two).key_ids == (*one.key_ids, *two.key_ids)
    assert KeyChain(one, transit).key_ids == ()


def test_while_one_is_away_the_others_open(bao: Bao, transit: HashicorpTransit) -> None:
    local = LocalKeyring([FIRST])
    chain = KeyChain(transit, local)
    here, there = local.wrap(KEY, CONTEXT), chain.wrap(KEY, CONTEXT)
    with bao.relay.refusing():
        assert chain.unwrap(here, CONTEXT) == KEY
        for order in (chain, KeyChain(local, transit)):
            with pytest.raises(KeyServiceUnavailableError):
                order.unwrap(there, CONTEXT)


def test_what_none_of_them_knows_is_told_as_tellingly_as_can_be(transit: HashicorpTransit) -> None:
    strange = LocalKeyring([THIRD]).wrap(KEY, CONTEXT)
    for chain in (KeyChain(LocalKeyring([FIRST]), transit), KeyChain(transit, LocalKeyring([FIRST]))):
        with pytest.raises(KeyNotFoundError):
            chain.unwrap(strange, CONTEXT)
        with pytest.raises(MalformedEnvelopeError):
            chain.unwrap(b"nothing", CONTEXT)


def test_a_service_names_the_local_key_that_is_missing_beside_it(transit: HashicorpTransit) -> None:
    local = LocalKeyring([FIRST])
    with pytest.raises(KeyNotFoundError, match=f"the local key {local.primary_id[:12]}…, which this HashicorpTransit"):
        transit.unwrap(local.wrap(KEY, CONTEXT), CONTEXT)


def test_what_was_altered_is_told_by_whom_it_belongs_to(transit: HashicorpTransit) -> None:
    chain = KeyChain(transit, LocalKeyring([FIRST]))
    wrapped = chain.wrap(KEY, CONTEXT)
    with pytest.raises(TamperedError):
        chain.unwrap(wrapped[:-1] + bytes([wrapped[-1] ^ 1]), CONTEXT)
