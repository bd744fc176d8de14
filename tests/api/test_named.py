"""Arrays with ids along their axes: chosen and joined by id."""

import numpy as np
import pytest

import spikevaediff
from spikevaediff.api.named import Named

RESPONSES = Named(
    np.arange(12.0).reshape(3, 4),
    {"image_id": np.array([8, 2, 5]), "unit": np.array(["1.7", "1.3", "2.7", "2.9"])},
    {"area": ("unit", np.array(["V1", "V4", "V1", "V4"]))},
)
SCORES = Named(np.array([0.5, 0.2, 0.8]), {"image_id": np.array([2, 9, 8])})


def test_ids_choose_in_the_order_asked_for_and_labels_follow() -> None:
    found = RESPONSES.sel(image_id=[5, 8], unit=["2.9", "1.7"])
    np.testing.assert_array_equal(found.values, [[11, 8], [3, 0]])
    np.testing.assert_array_equal(found.labels["area"][1], ["V4", "V1"])
    np.testing.assert_array_equal(found.axes["image_id"], [5, 8])


def test_one_id_drops_its_axis_and_the_labels_along_it() -> None:
    found = RESPONSES.sel(unit="2.7")
    np.testing.assert_array_equal(found.values, [2, 6, 10])
    assert list(found.axes) == ["image_id"]
    assert found.labels == {}
    assert RESPONSES.sel(unit="2.7", image_id=5).values == 10


def test_labels_choose() -> None:
    found = RESPONSES.where(area="V4")
    np.testing.assert_array_equal(found.axes["unit"], ["1.3", "2.9"])
    np.testing.assert_array_equal(found.values, RESPONSES.values[:, [1, 3]])
    assert RESPONSES.where(area=["V1", "V4"]).shape == (3, 4)


def test_join_goes_by_id_and_not_by_position() -> None:
    responses, scores = spikevaediff.join(RESPONSES, SCORES)
    np.testing.assert_array_equal(responses.axes["image_id"], [2, 8])
    np.testing.assert_array_equal(scores.axes["image_id"], [2, 8])
    np.testing.assert_array_equal(scores.values, [0.5, 0.8])
    np.testing.assert_array_equal(responses.values, [[4, 5, 6, 7], [0, 1, 2, 3]])
    assert spikevaediff.join() == ()


def test_numpy_takes_it_as_an_array_and_it_says_what_it_is() -> None:
    np.testing.assert_array_equal(np.mean(RESPONSES, axis=0), [4, 5, 6, 7])
    assert repr(RESPONSES) == "Named float64 (image_id: 3, unit: 4); labels area"
    assert len(RESPONSES) == 3


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match=r"image_id lacks 3, 4 \(2 of 3 asked for\)"):
        RESPONSES.sel(image_id=[3, 8, 4])
    with pytest.raises(KeyError, match="there is no axis image; there are image_id, unit"):
        RESPONSES.sel(image=3)
    with pytest.raises(KeyError, match="no unit has the area MT; there are V1, V4"):
        RESPONSES.where(area="MT")
    with pytest.raises(KeyError, match="no unit has the area MT, LP; there are V1, V4"):
        RESPONSES.where(area=["V1", "MT", "LP"])
    with pytest.raises(KeyError, match=r"no unit has the area \[\]; there are V1, V4"):
        RESPONSES.where(area=[])
    with pytest.raises(KeyError, match="there is no label region; there are area"):
        RESPONSES.where(region="V1")
    with pytest.raises(KeyError, match=r"image_id lacks '8' \(1 of 1 asked for\); there are 8, 2, 5"):
        RESPONSES.sel(image_id="8")
    for mask, kind in (
        ([True, False], "a mask"),
        (np.array([True]), "a mask"),
        ([[5, 8]], r"an array of shape \(1, 2\)"),
        (slice(0, 2), "a slice"),
    ):
        with pytest.raises(KeyError, match=f"image_id is asked for by {kind}, expected an id or a row of ids"):
            RESPONSES.sel(image_id=mask)
    with pytest.raises(ValueError, match="by the names of their axes, which ndarray does not have: give Named"):
        spikevaediff.join(RESPONSES, np.zeros(3))
    with pytest.raises(ValueError, match="the arrays have no image_id in common"):
        spikevaediff.join(RESPONSES.sel(image_id=[5]), SCORES)


def test_arrays_that_cannot_be_joined_by_id_are_refused() -> None:
    with pytest.raises(ValueError, match="ids along image_id must be unique, but 1 occur more than once"):
        Named(np.zeros(3), {"image_id": np.array([1, 1, 2])})
    with pytest.raises(ValueError, match=r"values have the shape \(3,\), the axes {'image_id': 2}"):
        Named(np.zeros(3), {"image_id": np.array([1, 2])})
    with pytest.raises(ValueError, match="area has 1 values, the axis unit has 2"):
        Named(np.zeros(2), {"unit": np.array([1, 2])}, {"area": ("unit", np.array(["V1"]))})
