"""The Lua scripts: one per topic, several operations each; both colours send the same.

A script is put together from parts, each in a file beside this one. The server keeps it under its SHA-1, so its text is
sent once per server start. All need Redis 7: the first line makes the server refuse a script that may not run before it
has begun, and refuse keys of several slots.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

_HEADS = {True: "#!lua", False: "#!lua flags=no-writes"}
_TAIL = "return operations[ARGV[1]]()\n"


@dataclass(frozen=True, slots=True)
class Script:
    """One script.

    Attributes:
        writes: it may change something, so it is never sent twice.
    """

    source: bytes
    sha: str
    writes: bool


def _script(*parts: str, writes: bool = True) -> Script:
    texts = [resources.files(__name__).joinpath(f"{part}.lua").read_text("utf-8") for part in parts]
    source = "\n".join([_HEADS[writes], *texts, _TAIL]).encode()
    return Script(source, hashlib.sha1(source, usedforsecurity=False).hexdigest(), writes)


READS = _script("common", "records", "uses", "reads", writes=False)
CONNECTIONS = _script("common", "schema", "records", "settling", "connections")
RENEWAL = _script("common", "schema", "records", "settling", "renewal")
ENDINGS = _script("common", "schema", "records", "settling", "endings")
STATES = _script("common", "schema", "records", "states")
KEYS = _script("common", "schema", "records", "uses", "keys")
