"""The rows of the library that a regression takes."""

import numpy as np
import pytest

from spikevaediff.encoding import library_rows
from spikevaediff.records import LibraryResponses, Stimuli

LIBRARY = Stimuli("a test", np.arange(5) + 40, np.arange(20, dtype=np.uint8).reshape(5, 2, 2))


def test_the_first_images_are_taken_and_none_where_none_is_asked_for() -> None:
    found = library_rows.first(LIBRARY, 2, "text")
    assert found.image_id.tolist() == [40, 41]
    np.testing.assert_array_equal(found.pixels, LIBRARY.pixels[:2])
    nothing = library_rows.no_features("text")
    assert nothing.values.shape == (0, 0)
    assert nothing.space == "text"


def test_rows_of_movies_follow_those_of_the_library() -> None:
    rows = Stimuli("a movie", np.array([2_000_000, 2_000_008]), np.full((2, 4, 4), 9, np.uint8))
    both = library_rows.joined(library_rows.first(LIBRARY, 2, "vdvae"), rows)
    assert both.image_id.tolist() == [40, 41, 2_000_000, 2_000_008]
    np.testing.assert_array_equal(both.pixels[2:], np.full((2, 2, 2), 9))
    simulated = LibraryResponses(np.array([40, 41]), np.zeros((3, 2, 2), np.float32))
    measured, expected = np.array([[1.0, 2.0], [3.0, 6.0]]), np.full((3, 2, 2), 5.0)
    found = library_rows.with_movies(simulated, rows.image_id, measured, expected)
    assert found.image_id.tolist() == both.image_id.tolist()
    for model in found.values:
        np.testing.assert_allclose(model, [[0, 0], [0, 0], [4, 3], [6, 7]])


@pytest.mark.parametrize("n", [-1, 6])
def test_more_than_there_are_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match=rf"regress.text.library is {n}, expected 0 to 5, the number of images in the"):
        library_rows.first(LIBRARY, n, "text")
