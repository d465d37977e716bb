"""The torture bench: promises tried many times over, with the provider's own log and the database as judges.

``python -m torture`` (with ``tests`` on the path) runs the short form, ``--long`` the long one; `nox -s torture` both
ways. Each point is a module of `points`, each mutation that must break one is in `mutations`.
"""
