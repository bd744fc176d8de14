"""The gallery shows the right image in the right place, chosen by rank, in the same bytes every time."""

import io

import numpy as np
import pytest
from PIL import Image

from spikevaediff.records import Reconstructions, Stimuli
from spikevaediff.report.figures import gallery
from spikevaediff.report.ranks import by_rank

CELL, GAP, LEFT = 64, 4, 130
IDS = np.array([7, 3, 11, 5, 2, 9])


def level(image_id: int, row: int) -> int:
    return 40 + 15 * image_id + row


SHOWN = Stimuli("a simulated test", IDS, np.stack([np.full((8, 8), level(i, 0), np.uint8) for i in IDS.tolist()]))
ROWS = {
    name: Reconstructions(IDS, np.stack([np.full((6, 6, 3), level(i, row), np.uint8) for i in IDS.tolist()]))
    for row, name in enumerate(("ceiling", "from spikes"), start=1)
}
SCORES = {7: 0.1, 3: 0.9, 11: -0.4, 5: 0.9, 2: 0.3, 9: 0.2}


def drawn(title: str = "a simulated test", n_each: int = 2) -> np.ndarray:
    groups = by_rank(SCORES, n_each, larger_is_better=True)
    png = gallery.draw(SHOWN, ROWS, groups, SCORES, title=title, score_name="pixcorr", cell_px=CELL)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_images_are_ranked_with_ties_in_the_order_of_ids() -> None:
    assert by_rank(SCORES, 2, larger_is_better=True) == {"best": [3, 5], "median": [2, 9], "worst": [7, 11]}
    assert by_rank(SCORES, 2, larger_is_better=False) == {"best": [11, 7], "median": [9, 2], "worst": [3, 5]}


@pytest.mark.parametrize("n", [3, 4, 7, 12, 118])
@pytest.mark.parametrize("n_each", [1, 2, 4])
def test_no_image_is_shown_twice_and_the_middle_is_the_median(n: int, n_each: int) -> None:
    scores = dict(enumerate(np.random.default_rng([n]).permutation(n).tolist()))
    groups = by_rank(scores, n_each, larger_is_better=True)
    chosen = [scores[i] for group in groups.values() for i in group]
    assert chosen == sorted(set(chosen), reverse=True)
    assert {len(group) for group in groups.values()} == {min(n_each, n // 3)}
    assert abs(np.median([scores[i] for i in groups["median"]]) - (n - 1) / 2) <= 0.5


def test_of_two_images_the_better_and_the_worse_are_shown() -> None:
    groups = by_rank({3: 0.2, 5: 0.7}, 4, larger_is_better=True)
    assert groups == {"best": [5], "worst": [3]}
    picture = gallery.draw(SHOWN, ROWS, groups, SCORES, title="two images", score_name="b", cell_px=CELL)
    assert len(picture) > 0


@pytest.mark.parametrize(("scores", "n_each"), [({1: 0.0}, 1), ({1: 0.0, 2: 1.0, 3: 2.0}, 0), ({}, 1)])
def test_too_few_images_are_refused(scores: dict[int, float], n_each: int) -> None:
    with pytest.raises(ValueError, match=rf"got n_each = {n_each} and {len(scores)} images"):
        by_rank(scores, n_each, larger_is_better=True)


def test_every_image_stands_in_its_column_and_row() -> None:
    picture = drawn()
    columns = [LEFT + k * (CELL + GAP) + (k // 2) * 3 * GAP for k in range(6)]
    top = next(y for y in range(len(picture)) if picture[y, columns[0] + 1].tolist() == [level(3, 0)] * 3)
    for x, image_id in zip(columns, [3, 5, 2, 9, 7, 11], strict=True):
        for row in range(3):
            y = top + row * (CELL + GAP)
            cell = picture[y : y + CELL, x : x + CELL]
            assert np.unique(cell).tolist() == [level(image_id, row)], f"image {image_id}, row {row}"


def test_the_same_input_gives_the_same_bytes() -> None:
    np.testing.assert_array_equal(drawn(), drawn())
    groups = by_rank(SCORES, 1, larger_is_better=True)
    pngs = {gallery.draw(SHOWN, ROWS, groups, SCORES, title="a", score_name="b", cell_px=CELL) for _ in range(3)}
    assert len(pngs) == 1


@pytest.mark.parametrize("n_each", [1, 2])
@pytest.mark.parametrize("words", [1, 6, 15])
def test_the_title_is_wrapped_and_never_cut(words: int, n_each: int) -> None:
    picture = drawn("several words " * words, n_each)
    assert (picture[:, -4:] == 255).all(), "the text reaches the right edge"
    assert (picture[:3] == 255).all(), "the text reaches the upper edge"
    assert (picture[:, :3] == 255).all(), "the text reaches the left edge"


def test_an_image_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="Stimuli lacks image_id 99"):
        gallery.draw(SHOWN, ROWS, {"best": [99]}, {99: 0.0}, title="a", score_name="b", cell_px=CELL)
