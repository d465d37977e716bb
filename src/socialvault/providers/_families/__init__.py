"""What the products of one company share. Providers import from here, never from each other."""
