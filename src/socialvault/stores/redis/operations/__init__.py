"""Every operation of the three storage ports, by topic, for both colours."""

from __future__ import annotations

from socialvault.stores.redis.operations.connections import Connections
from socialvault.stores.redis.operations.endings import Endings
from socialvault.stores.redis.operations.keys import Keys
from socialvault.stores.redis.operations.renewal import Renewal
from socialvault.stores.redis.operations.rotation import Rotation
from socialvault.stores.redis.operations.states import States


class Operations(Connections, Renewal, Endings, States, Keys, Rotation):
    """All of them."""
