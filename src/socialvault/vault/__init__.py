"""The use cases, written once as coroutines over ports; they import no event loop, no socket and no clock."""
