"""The two implementations of the runtime port."""
