"""Looking at an error as an error tracker would, without the test's own frames, which know every secret."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from support.canaries import whole_story

import socialvault

if TYPE_CHECKING:
    from types import TracebackType

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


def shows(problem: BaseException, secret: bytes) -> bool:
    """Whether eight bytes in a row of `secret` appear in what an error tracker would see of the library's frames."""
    story = whole_story(from_the_library(problem)).replace("\\\\", "\\")  # locals are shown as repr of repr
    windows = [secret[start : start + 8] for start in range(len(secret) - 7)]
    spelt = [repr(window)[2:-1] for window in windows if not {0x22, 0x27, 0x5C} & {*window}]
    return any(spelling in story for spelling in [*spelt, *(window.hex() for window in windows)])
