"""Pieces of work side by side: their order, what an error leaves undone, and how many threads each has."""

import os
import threading
import time

import pytest
import torch

from loading.machine import processors
from spikevaediff.side_by_side import side_by_side, workers


def test_results_come_in_the_order_of_the_pieces_and_from_several_threads() -> None:
    together = threading.Barrier(3, timeout=30)

    def piece(i: int) -> tuple[int, str]:
        if i < 3:
            together.wait()  # passes only if three pieces run at the same time
        time.sleep(0.01 * (5 - i))  # the first one ends last
        return i, threading.current_thread().name

    found = list(side_by_side(piece, range(5), at_once=3))
    assert [i for i, _ in found] == list(range(5))
    assert len({name for _, name in found[:3]}) == 3


def test_a_piece_has_one_thread_and_does_not_start_others() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert list(side_by_side(lambda _: (torch.get_num_threads(), workers()), range(3), at_once=2)) == [(1, 1)] * 3
        assert torch.get_num_threads() == 2
        # A single piece, or one at a time: all processors work on it.
        for pieces, at_once in ((range(1), 2), (range(3), 1)):
            assert set(side_by_side(lambda _: torch.get_num_threads(), pieces, at_once=at_once)) == {2}
            one = side_by_side(lambda _: torch.get_num_threads(), pieces, at_once=at_once, one_thread=True)
            assert set(one) == {1}
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_error_ends_it_and_pieces_that_have_not_begun_are_left_out() -> None:
    begun, before = [], torch.get_num_threads()

    def piece(i: int) -> int:
        begun.append(i)
        if i == 1:
            raise ValueError("no such image")
        time.sleep(0.1)
        return i

    with pytest.raises(ValueError, match="no such image"):
        list(side_by_side(piece, range(50), at_once=2))
    assert len(begun) < 10
    assert torch.get_num_threads() == before


def test_as_many_as_the_user_says_or_as_there_are_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    for said, expected in (("3", 3), ("4,2", 4), ("", processors()), ("many", processors()), ("0", processors())):
        monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", said)
        assert workers() == expected
    assert workers("cuda") == 1
