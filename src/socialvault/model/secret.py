"""``Secret``: a value that only comes out when asked by name."""

from __future__ import annotations

import hmac
import secrets
from typing import Generic, NoReturn, TypeVar

T = TypeVar("T", str, bytes)

# Fingerprints are keyed per process: they tell two secrets apart in a log and confirm no guess.
_FINGERPRINT_KEY = secrets.token_bytes(32)


def fingerprint(value: str | bytes) -> str:
    """Return six hex digits that stand for `value` within this process."""
    return hmac.digest(_FINGERPRINT_KEY, _as_bytes(value), "sha256").hex()[:6]


class Unexportable:
    """Refuses pickling and copying, so that what it holds stays in this process."""

    __slots__ = ()

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError(f"{type(self).__name__} can be neither copied nor serialised: it holds a secret")

    __reduce__ = __copy__ = __deepcopy__ = __getstate__ = _refuse

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        self._refuse()


class Secret(Unexportable, Generic[T]):
    """Holds a secret that no repr, log line, traceback, pickle or JSON encoder can show.

    >>> str(Secret("hunter2")).startswith("Secret(sha256:")
    True
    """

    __slots__ = ("__value",)

    def __init__(self, value: T) -> None:
        self.__value: T = value

    def reveal(self) -> T:
        """Return the value itself."""
        return self.__value

    def __repr__(self) -> str:
        return f"Secret(sha256:{fingerprint(self.__value)})"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return repr(self)

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine, theirs = self.__value, other.reveal()
        if type(mine) is not type(theirs):
            return False
        return hmac.compare_digest(_as_bytes(mine), _as_bytes(theirs))

    __hash__ = None  # type: ignore[assignment]  # a secret is never a cache key


def _as_bytes(value: str | bytes) -> bytes:
    # `str`, so that not even a value of a wrong type makes a repr fail
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
