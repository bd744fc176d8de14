"""What is known of a session is compared with what was found in it."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from spikevaediff.recordings import facts


def test_what_agrees_is_printed_and_what_nobody_knew_is_said_to_be_new(capsys: pytest.CaptureFixture[str]) -> None:
    facts.check("session 7", {"units": 12, "images": 118}, {"units": 12, "images": None, "repeats": 50})
    assert capsys.readouterr().err == "session 7: units 12 as expected; images 118 not known before\n"


def test_a_difference_stops_with_what_was_expected() -> None:
    with pytest.raises(
        ValueError, match="session 7 differs from what is known: units is 11, expected 12; order is b, expec"
    ):
        facts.check("session 7", {"units": 11, "images": 118, "order": "b"}, {"units": 12, "images": 118, "order": "a"})


def test_a_fact_that_nothing_can_tell_from_a_wrong_one_is_refused() -> None:
    with pytest.raises(KeyError, match="nothing says what channels of session 7 should be; the facts are units"):
        facts.check("session 7", {"channels": 96}, {"units": 12})


def test_the_hash_of_an_order_is_that_of_the_hashes_one_after_the_other() -> None:
    inner = b"".join(hashlib.sha256(content).digest() for content in (b"one", b"two"))
    assert facts.order_of([b"one", b"two"]) == hashlib.sha256(inner).hexdigest()
    assert facts.order_of([b"two", b"one"]) != facts.order_of([b"one", b"two"])
    assert facts.order_of([b"onetwo", b""]) != facts.order_of([b"one", b"two"])


def test_a_picture_is_known_again_at_another_size_and_place_by_place() -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (9, 6, 8), np.uint8)
    sizes = [(120, 90), (31, 31)]
    large, small = (
        np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in coarse])
        for size in sizes
    )
    known = facts.fingerprints(small)
    assert all(len(bytes.fromhex(each)) == 8 for each in known)
    assert facts.n_in_order(large, known) == 9
    assert facts.n_in_order(large[[1, 0, *range(2, 9)]], known) == 7
    assert facts.n_in_order(large, [known[0]] * 9) == 0  # like nine at once is like none


def test_the_bits_of_a_fingerprint_are_the_parts_above_the_median() -> None:
    ramp = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    assert facts.fingerprints(ramp) == ["00000000ffffffff"]
    assert facts.fingerprints(255 - ramp) == ["ffffffff00000000"]
