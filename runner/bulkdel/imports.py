"""Whether a module is being loaded at the moment of a signal. An exception must not come out of that."""

from __future__ import annotations

from types import FrameType


def is_importing(frame: FrameType | None) -> bool:
    """Whether Python's import system is at work in this frame, or in one that has called it.

    An exception that a handler raises there may leave the lock of all imports held, so that every later import waits
    for ever. It may be swallowed, or come out of the module as another one.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
