"""What one tick of `renew_due` did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sweep:
    """Counts of one `renew_due`.

    Attributes:
        due: connections that were due and taken up.
        renewed: whose token was renewed, or had just been by another process.
        busy: that another process was renewing.
        failed: that will be tried again. reauthorization_required: whose grant turned out to be dead, or that were
            disconnected meanwhile.
        deferred: not taken up, because their provider is being left alone or its budget was used up; 0 or more, as
            only the first of them are counted.
        escrowed: tokens that had waited for the store and are stored now.
        revoked: disconnected grants whose revocation ended. warned: connections that will die soon.
    """

    due: int = 0
    renewed: int = 0
    busy: int = 0
    failed: int = 0
    reauthorization_required: int = 0
    deferred: int = 0
    escrowed: int = 0
    revoked: int = 0
    warned: int = 0
