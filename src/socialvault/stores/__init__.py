"""Where connections, flows and keys are kept: one module per database, imported by name."""
