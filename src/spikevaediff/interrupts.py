"""Ctrl-C prints one line, from the first import on: importing what a command needs takes seconds."""

import sys
from types import TracebackType


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def say_one_line() -> None:
    """From now on, an interrupt that nothing else handles is one line on standard error."""
    sys.excepthook = _one_line
