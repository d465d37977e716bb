"""A small Django project whose users connect their social accounts."""
