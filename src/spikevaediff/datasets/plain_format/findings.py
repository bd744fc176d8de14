"""What is said about a folder of the plain format, and how it is worded."""

from collections.abc import Iterable
from dataclasses import dataclass, field

_LONGEST = 60  # letters of a name in a message


@dataclass
class Findings:
    """What is said about files: lists that grow while they are read.

    problems, notes : list of str; what must be mended, and what may be as it is.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def first_five(values: Iterable[object]) -> str:
    """The first five values as text, and how many there are where there are more."""
    values = list(values)
    return ", ".join(map(str, values[:5])) + (f", ... ({len(values)})" if len(values) > 5 else "")


def brief(text: str) -> str:
    """A text for a line of a message: the beginning of a long one, and escaped what no terminal shows."""
    shown = text if text.isprintable() else ascii(text)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}... ({len(text)} letters)"
