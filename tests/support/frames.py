"""Looking at an error as an error tracker would, without the test's own frames, which know every secret."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TypeVar

import socialvault

E = TypeVar("E", bound=BaseException)

_PACKAGE = str(Path(socialvault.__file__).parent)


def from_the_library(problem: E) -> E:
    """Return `problem` with a traceback that begins at the first frame of the library; its chain likewise."""
    traceback: TracebackType | None = problem.__traceback__
    while traceback is not None and not traceback.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        traceback = traceback.tb_next
    assert traceback is not None, "no frame of the library raised this"
    for other in (problem.__cause__, problem.__context__):
        if other is not None:
            from_the_library(other)
    return problem.with_traceback(traceback)
