"""A key service that goes away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault import LocalKeyring
from socialvault.exceptions import KeyServiceUnavailableError

if TYPE_CHECKING:
    from socialvault.model.keys import KeyContext


class Down(LocalKeyring):
    """A key service that answers until it is taken down."""

    down = False

    def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        if self.down:
            raise KeyServiceUnavailableError("the key service does not answer")
        return super().unwrap(wrapped, context)
