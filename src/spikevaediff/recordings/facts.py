"""What is known of a session before it is used, compared with what was found in its files.

A file can have the right hash and be read wrongly: images in another order, repeats along another axis. Whoever knows a
data set writes down what a session holds, in the manifest of the data set, and `check` stops where it holds something
else.
"""

import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from spikevaediff.images import resize

_SIDE = 8  # of the pictures of which fingerprints are made

Fact = int | float | str


def check(what: str, found: Mapping[str, Fact], expected: Mapping[str, Fact | None]) -> None:
    """Compare what was found with what is known, and print both.

    Parameters
    ----------
    what : str
        What they are facts of: "session 201025".
    found : mapping
        By name: units, images, repeats, image_order, ...
    expected : mapping
        The same names; None where it is not known. Names that `found` lacks say nothing of what was read.

    Raises
    ------
    ValueError
        They differ; the message lists what was found and what was expected.
    KeyError
        A name of `found` is not among those expected: nobody could tell that it is wrong.
    """
    if unknown := sorted(set(found) - set(expected)):
        there = ", ".join(expected)
        raise KeyError(f"nothing says what {', '.join(unknown)} of {what} should be; the facts are {there}")
    if wrong := [name for name, value in found.items() if expected[name] is not None and value != expected[name]]:
        told = "; ".join(f"{name} is {found[name]}, expected {expected[name]}" for name in wrong)
        raise ValueError(
            f"{what} differs from what is known: {told}. Its files were altered or misread; nothing was written"
        )
    held = [f"{name} {value}" for name, value in found.items() if expected[name] is not None]
    new = [f"{name} {value}" for name, value in found.items() if expected[name] is None]
    parts = [f"{', '.join(held)} as expected"] * bool(held) + [f"{', '.join(new)} not known before"] * bool(new)
    print(f"{what}: {'; '.join(parts)}", file=sys.stderr, flush=True)


def order_of(contents: Iterable[bytes]) -> str:
    """One hash of files in their order: the sha256 of the sha256 digests, hexadecimal."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def fingerprints(pixels: np.ndarray) -> list[str]:
    """Sixty-four bits by which a picture is known again at any size: which parts of 8 x 8 are above their median.

    Parameters
    ----------
    pixels : uint8, (n_images, height, width)

    Returns
    -------
    list of str, (n_images,)
        Sixteen hexadecimal digits each.
    """
    coarse = resize(pixels, _SIDE).reshape(len(pixels), -1)
    return [np.packbits(row > np.median(row)).tobytes().hex() for row in coarse]


def n_in_order(pixels: np.ndarray, expected: Sequence[str]) -> int:
    """How many pictures are, of all that are expected, most like the one expected in their place.

    Parameters
    ----------
    pixels : uint8, (n_images, height, width)
    expected : sequence of str, (n_images,)
        Their fingerprints, made of another copy of them.
    """
    found, known = (
        np.unpackbits(np.frombuffer(bytes.fromhex("".join(each)), np.uint8).reshape(-1, _SIDE), axis=1)
        for each in (fingerprints(pixels), expected)
    )
    differ = (found[:, None] != known[None]).sum(2)
    own = np.diagonal(differ)
    return int(np.sum(np.sum(differ <= own[:, None], axis=1) == 1))
