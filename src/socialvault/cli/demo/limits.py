"""Open files: many threads at once have many connections to one database, and systems allow few by default."""

from __future__ import annotations

from socialvault.exceptions import ConfigurationError

_FILES_PER_CALLER = 3
_OTHER_FILES = 200


def make_room(callers: int) -> None:
    """Raise this process's limit of open files as far as `callers` threads need it.

    Raises:
        ConfigurationError: the system does not allow that many.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = callers * _FILES_PER_CALLER + _OTHER_FILES
    if resource.RLIM_INFINITY != hard < wanted:
        raise ConfigurationError(f"{callers} callers need {wanted} open files, and the limit is {hard}: give fewer")
    if resource.RLIM_INFINITY != soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
