"""What key services behind a network have in common: they wrap one-time keys, and vault keys never reach them.

For each vault key a random one-time key is made here. The vault key is sealed under it, with the envelope that seals
everything else, bound to its context; the service wraps the one-time key, bound to the same context where it can::

    off len
    0   4   magic "SK", format version (1), suite (1 = one-time key, then envelope)
    4   4+n id of the service's key, UTF-8, preceded by its length (big endian)
            the one-time key as the service wrapped it, preceded by its length
            the vault key in its envelope (see ``crypto/envelope.py``)

So what a service is sent, and what its client library may write into a log, opens nothing without the database.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import time
from abc import ABC, abstractmethod
from contextvars import ContextVar
from importlib import import_module
from os import urandom
from struct import Struct
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar, cast

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from socialvault.crypto.envelope import KEY_BYTES, Purpose, Sealer, key_id_of, parse_key_id, part, text
from socialvault.crypto.envelope import MAGIC as LOCAL_MAGIC
from socialvault.exceptions import (
    ConfigurationError,
    EncryptionError,
    KeyNotFoundError,
    KeyServiceUnavailableError,
    MalformedEnvelopeError,
    TamperedError,
    WrongKeyError,
)
from socialvault.model.keys import KeyContext
from socialvault.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import timedelta

T = TypeVar("T")

MAGIC = b"SK\x01\x01"

#: Before each further attempt of a call that met no answer.
_PAUSES_SECONDS = (0.1, 0.4)
#: What the one-time key is bound to that is made to learn which key the service wraps under; it is thrown away.
_PROBE = KeyContext(bytes(16), "probe", "", "")
_LENGTH = Struct(">I")
_SHOWN_CHARACTERS = 300
_asking: ContextVar[bool] = ContextVar("socialvault_asking_a_key_service", default=False)


class Wrapped(NamedTuple):
    """The parts of a wrapped vault key.

    Attributes:
        kek_id: names the service's key.
        one_time_key: as the service wrapped it.
        envelope: holds the vault key.
    """

    kek_id: str
    one_time_key: bytes
    envelope: bytes

    def to_bytes(self) -> bytes:
        """Return what is stored."""
        return MAGIC + part(self.kek_id.encode()) + part(self.one_time_key) + self.envelope

    @classmethod
    def parse(cls, stored: bytes) -> Wrapped:
        """Read what `to_bytes` wrote.

        Raises:
            MalformedEnvelopeError: these bytes are nothing that it wrote.
        """
        kek_id, rest = _split(stored[len(MAGIC) :])
        one_time_key, envelope = _split(rest)
        parse_key_id(envelope)
        try:
            named = kek_id.decode()
        except UnicodeDecodeError:
            named = ""
        if not stored.startswith(MAGIC) or not named:
            raise MalformedEnvelopeError("these bytes are no vault key that a key service wrapped")
        return cls(named, one_time_key, envelope)


def _split(data: bytes) -> tuple[bytes, bytes]:
    """Return the part that `data` begins with, and the rest."""
    length = _LENGTH.unpack(data[:4])[0] if len(data) >= 4 else 0
    if not 0 < length <= len(data) - 4:
        raise MalformedEnvelopeError("these bytes are no vault key that a key service wrapped")
    return data[4 : 4 + length], data[4 + length :]


class RemoteKeyService(ABC):
    """A `KeyService` (`socialvault.ports`) whose KEK is behind a network.

    It is blocking; `AsyncVault` asks it in another thread. The key that wraps what is new is found out at the first
    need and stays the same for the life of this object, so that what is wrapped and what is recorded never differ. A
    call that meets no answer is made up to three times. After a fork the child makes a client of its own.

    A subclass says how its client is made, how it wraps and unwraps 32 bytes, and what its errors mean. It leaves
    repeating to this class, since client libraries wait as long as a server tells them to.

    Args:
        client: the client library's client, to be used instead of one made here.
        timeout: for one attempt.
    """

    #: What messages call it.
    service: ClassVar[str]
    #: Whose DEBUG output shows what is sent: loggers with these names, and those below.
    loggers: ClassVar[tuple[str, ...]]

    def __init__(self, client: Any, timeout: timedelta) -> None:
        if timeout.total_seconds() <= 0:
            raise ConfigurationError("timeout must be positive", argument="timeout")
        self._timeout_seconds = timeout.total_seconds()
        self._given_client = client
        self._own_client: Any = None
        self._own_pid = 0
        self._primary_id = ""

    # --- what a subclass is --------------------------------------------------------------------------

    @property
    @abstractmethod
    def _failures(self) -> tuple[type[Exception], ...]:
        """What the client raises."""

    @abstractmethod
    def _connect(self) -> Any:
        """Make a client; no call is made yet."""

    @abstractmethod
    def _encrypt(self, client: Any, kek_id: str, key: Secret[bytes], context: KeyContext) -> tuple[str, bytes]:
        """Wrap a one-time key under `kek_id`, or under the newest key when that is empty; return whose it became."""

    @abstractmethod
    def _decrypt(self, client: Any, kek_id: str, wrapped: bytes, context: KeyContext) -> bytes:
        """Unwrap a one-time key."""

    @abstractmethod
    def _holds(self, kek_id: str) -> bool:
        """Whether the application was given this key. Without this, who can write the database could name his own."""

    @abstractmethod
    def _translated(self, problem: Exception) -> EncryptionError:
        """Say what a failure means."""

    # --- the port ------------------------------------------------------------------------------------

    @property
    def primary_id(self) -> str:
        """The id of the key that new vault keys are wrapped under; the service is asked at the first need.

        Raises:
            KeyNotFoundError, KeyServiceUnavailableError: as `wrap`.
        """
        if not self._primary_id:
            self._primary_id = self._sealed_one_time_key(Secret(urandom(KEY_BYTES)), _PROBE)[0]
        return self._primary_id

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Empty: it can't list which versions of its keys it can unwrap with."""
        return ()

    def wrap(self, key: bytes, context: KeyContext) -> bytes:
        """Seal `key` under the primary KEK, bound to `context`.

        Raises:
            KeyNotFoundError: the service's key is gone, disabled or unknown.
            KeyServiceUnavailableError: the service can't be reached, or refuses.
        """
        vault_key = Secret(key)
        del key  # this frame may raise
        one_time_key = Secret(urandom(KEY_BYTES))
        kek_id, sealed = self._sealed_one_time_key(one_time_key, context)
        self._primary_id = kek_id
        sealer = _sealer(one_time_key, context)
        return Wrapped(kek_id, sealed, sealer.seal(vault_key.reveal(), "", "", text(context.key_id), 0)).to_bytes()

    def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        """Open what `wrap` made.

        Raises:
            KeyNotFoundError: the key it was wrapped under was not given here, or is gone or disabled.
            WrongKeyError: the service gave another one-time key than it was given.
            TamperedError: it was altered, or made for another context.
            MalformedEnvelopeError: it is nothing that `wrap` made.
            KeyServiceUnavailableError: the service can't be reached, or refuses.
        """
        if wrapped.startswith(LOCAL_MAGIC):
            raise KeyNotFoundError(
                f"a vault key is wrapped under the local key {parse_key_id(wrapped).hex()[:12]}…, which this "
                f"{type(self).__name__} has not: give the vault a KeyChain with both"
            )
        parts = Wrapped.parse(wrapped)
        if not self._holds(parts.kek_id):
            raise KeyNotFoundError(
                f"a vault key is wrapped under {shown(parts.kek_id)}, which this {type(self).__name__} was not given"
            )
        one_time_key = Secret(
            self._ask(lambda client: self._decrypt(client, parts.kek_id, parts.one_time_key, context))
        )
        if not hmac.compare_digest(key_id_of(one_time_key.reveal()), parse_key_id(parts.envelope)):
            raise WrongKeyError(f"{self.service} gave another key than the one that was wrapped")
        return _sealer(one_time_key, context).open(parts.envelope, "", "", text(context.key_id), 0)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._primary_id})"

    # --- asking --------------------------------------------------------------------------------------

    def _sealed_one_time_key(self, key: Secret[bytes], context: KeyContext) -> tuple[str, bytes]:
        asked, self._primary_id = self._primary_id, ""  # after a failure it is found out anew
        kek_id, sealed = self._ask(lambda client: self._encrypt(client, asked, key, context))
        if not kek_id or not sealed or (asked and kek_id != asked):
            raise KeyServiceUnavailableError(f"{self.service} wrapped under another key than it was asked to")
        self._primary_id = kek_id
        return kek_id, sealed

    def _ask(self, call: Callable[[Any], T]) -> T:
        """Call the service, again if it does not answer and there is time."""
        until = time.monotonic() + self._timeout_seconds * (len(_PAUSES_SECONDS) + 1)
        for pause_seconds in _PAUSES_SECONDS:
            with contextlib.suppress(_UnreachableError):
                return self._ask_once(call)
            if time.monotonic() + pause_seconds >= until:
                break
            time.sleep(pause_seconds)
        try:
            return self._ask_once(call)
        except _UnreachableError as problem:
            message = str(problem)
        raise KeyServiceUnavailableError(message)

    def _ask_once(self, call: Callable[[Any], T]) -> T:
        """Call the service; what its client raises becomes one of this library's errors, without a chain."""
        try:
            with _quiet(self.loggers):
                return call(self._client())
        except EncryptionError as problem:
            error = problem.with_traceback(None)
        except self._failures as problem:
            error = self._translated(problem)
        except (AttributeError, LookupError, TypeError, ValueError) as problem:
            error = self.unreachable(f"its answer can't be read: {type(problem).__name__}")
        raise error

    def _client(self) -> Any:
        if self._given_client is not None:
            return self._given_client
        if self._own_pid != os.getpid():  # a forked child shares no connection with its parent
            self._own_client, self._own_pid = self._connect(), os.getpid()
        return self._own_client

    # --- what errors say -----------------------------------------------------------------------------

    def unreachable(self, detail: str) -> KeyServiceUnavailableError:
        """It does not answer for now; it is asked again."""
        return _UnreachableError(f"{self.service} can't be reached, or is overloaded ({shown(detail)})")

    def refused(self, what_to_do: str, detail: str) -> KeyServiceUnavailableError:
        """The operator must act."""
        return KeyServiceUnavailableError(
            f"{self.service} refused; the operator must {what_to_do} ({shown(detail)}). Nothing was changed"
        )

    def gone(self, detail: str) -> KeyNotFoundError:
        """The service's key can't be used."""
        return KeyNotFoundError(
            f"{self.service}: its key is missing, disabled or scheduled for deletion ({shown(detail)})"
        )

    def altered(self) -> TamperedError:
        """The service would not open it."""
        return TamperedError("a wrapped vault key was altered, or moved to where it does not belong")


class _UnreachableError(KeyServiceUnavailableError):
    """Worth another attempt."""


def _sealer(one_time_key: Secret[bytes], context: KeyContext) -> Sealer:
    return Sealer(
        AESGCM(one_time_key.reveal()),
        key_id_of(one_time_key.reveal()),
        context.vault_id,
        cast("Purpose", context.purpose),
        context.tenant,
        "",
    )


def associated_data(context: KeyContext) -> bytes:
    """Return `context` as one string of bytes, for services that bind to one."""
    return b"".join(map(part, (context.vault_id, text(context.purpose), text(context.tenant), text(context.key_id))))


def shown(value: str) -> str:
    """Return what a message may say of a text from outside: printable, and not too long."""
    return "".join(character if character.isprintable() else "?" for character in value[:_SHOWN_CHARACTERS])


def library(module: str, extra: str) -> Any:
    """Import a service's client library; untyped, since not all of them have types.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        pass
    raise ConfigurationError(f"{module.partition('.')[0]} is missing: pip install 'socialvault[{extra}]'")


class _Quiet(logging.Filter):
    """Drops debugging output of a call that is under way; that of the application's own calls stays."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.DEBUG or not _asking.get()


_QUIET = _Quiet()


@contextlib.contextmanager
def _quiet(names: tuple[str, ...]) -> Iterator[None]:
    """Keep requests and answers out of the client library's debugging output, which would show one-time keys."""
    below = tuple(f"{name}." for name in names)
    for name in [*names, *(known for known in list(logging.root.manager.loggerDict) if known.startswith(below))]:
        logging.getLogger(name).addFilter(_QUIET)  # again and again: a library makes loggers whenever it likes
    token = _asking.set(True)
    try:
        yield
    finally:
        _asking.reset(token)
