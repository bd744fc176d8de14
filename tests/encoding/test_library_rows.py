"""The rows of the library that a regression takes."""

import numpy as np
import pytest

from spikevaediff.encoding import library_rows
from spikevaediff.records import Stimuli

LIBRARY = Stimuli("a test", np.arange(5) + 40, np.arange(20, dtype=np.uint8).reshape(5, 2, 2))


def test_the_first_images_are_taken_and_none_where_none_is_asked_for() -> None:
    found = library_rows.first(LIBRARY, 2, "text")
    assert found.image_id.tolist() == [40, 41]
    np.testing.assert_array_equal(found.pixels, LIBRARY.pixels[:2])
    nothing = library_rows.no_features("text")
    assert nothing.values.shape == (0, 0)
    assert nothing.space == "text"


@pytest.mark.parametrize("n", [-1, 6])
def test_more_than_there_are_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match=rf"regress.text.library is {n}, expected 0 to 5, the number of images in the"):
        library_rows.first(LIBRARY, n, "text")
