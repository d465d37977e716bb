"""The names of keys.

All keys of one vault begin with ``{namespace}:``. The braces are a hash tag: a cluster keeps everything that has the
same tag in one slot, so that a script may touch all of it. One vault therefore lives on one shard; several vaults with
namespaces of their own spread over a cluster.

====================================  =================================================================
``schema``                            the version of this layout
``vault``                             hash: the vault's identity
``connection:<id>``                   hash: a connection, its lease included
``revocation:<id>``                   hash: a revocation that the provider has not confirmed yet
``state:<hash>``, ``claimed:<hash>``  hash: a pending flow; string: that it was claimed
``key:<level>:<id>``                  hash: a wrapped key
the others                            sorted sets of ids: the indexes, see ``scripts/records.lua``
====================================  =================================================================

Where a name is made of several texts, each is preceded by its length, so that no two lists of texts share a name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.exceptions import ConfigurationError, StoreError

if TYPE_CHECKING:
    from socialvault.model.keys import KeyLevel

#: Of the layout that this release reads and writes; ``scripts/schema.lua`` has it too.
SCHEMA = 1


def encoded(text: str) -> bytes:
    """Return the bytes of a text.

    Raises:
        StoreError: it is none, or no Unicode.
    """
    if not isinstance(text, str):
        raise StoreError("ids, owners and accounts are texts")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise StoreError("a text that is no Unicode can't be stored") from None


def joined(*texts: str | None) -> bytes:
    """Join texts as the scripts do. None, from a caller who has no owner, joins to what no text does."""
    return b"".join(b"-" if text is None else b"%d:%b" % (len(part := encoded(text)), part) for text in texts)


class Layout:
    """The names of the keys of one vault.

    Args:
        namespace: of the vault.

    Raises:
        ConfigurationError: it is empty, or has a brace.
    """

    def __init__(self, namespace: str) -> None:
        if not namespace or set(namespace) & set("{}"):
            raise ConfigurationError("namespace must be a text without braces", argument="namespace")
        self.prefix = b"{%b}:" % namespace.encode()
        self._connection = self.prefix + b"connection:"
        self.schema = self.prefix + b"schema"
        self.vault = self.prefix + b"vault"
        self.states = self.prefix + b"states"

    def connection(self, connection_id: str) -> bytes:
        """A connection's hash."""
        return self._connection + encoded(connection_id)

    def revocation(self, revocation_id: str) -> bytes:
        """A revocation's hash."""
        return self.prefix + b"revocation:" + encoded(revocation_id)

    def state(self, state_hash: bytes) -> bytes:
        """A pending flow's hash."""
        return self.prefix + b"state:" + state_hash.hex().encode()

    def claimed(self, state_hash: bytes) -> bytes:
        """The mark that a flow was claimed."""
        return self.prefix + b"claimed:" + state_hash.hex().encode()

    def key(self, level: KeyLevel, key_id: str) -> bytes:
        """A wrapped key's hash."""
        return self.prefix + b"key:%b:%b" % (level.encode(), encoded(key_id))

    def index(self, *names: str) -> bytes:
        """An index that is named by one id or fixed names."""
        return self.prefix + b":".join(encoded(name) for name in names)

    def index_of(self, name: str, *texts: str | None) -> bytes:
        """An index that is named by several texts."""
        return self.prefix + encoded(name) + b":" + joined(*texts)
