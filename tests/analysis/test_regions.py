"""Areas are compared at equal numbers of units, and areas that know nothing do not differ."""

import numpy as np
import pytest

from spikevaediff.analysis import curves, regions
from spikevaediff.recordings import sessions
from spikevaediff.records import BLANK, ImageSplit, Responses, UnitTable

N = 40
SPLIT = ImageSplit(np.arange(N), np.arange(N) % 4)


def kept(x: np.ndarray) -> np.ndarray:
    """A score that says what it was given: the first column."""
    return x[:, 0]


def areas(**n_units: int) -> dict[str, np.ndarray]:
    return {name: np.random.default_rng([i]).normal(size=(N, n)) for i, (name, n) in enumerate(n_units.items())}


def test_every_area_is_scored_at_the_common_number() -> None:
    x = areas(VISp=30, LGd=6, CA1=12)
    scores = regions.scores_by_area(x, kept, [4, 16], n_units=0, n_draws=3, seed=0)
    assert {area: sorted(by_count) for area, by_count in scores.items()} == {
        "VISp": [4, 6, 16, 30],
        "LGd": [4, 6],
        "CA1": [4, 6, 12],
    }
    assert scores["VISp"][6].shape == (3, N)
    assert scores["LGd"][6].shape == (1, N)  # nothing left to draw


def test_draws_do_not_depend_on_other_areas() -> None:
    x = areas(VISp=30, LGd=6)
    alone = regions.scores_by_area({"VISp": x["VISp"]}, kept, [4], n_units=6, n_draws=3, seed=0)
    both = regions.scores_by_area(x, kept, [4], n_units=6, n_draws=3, seed=0)
    np.testing.assert_array_equal(alone["VISp"][6], both["VISp"][6])


def test_an_area_with_too_few_units_is_named() -> None:
    with pytest.raises(ValueError, match=r"regions.n_units is 8, but areas have: LGd 6, VISp 30. Lower it, or leave"):
        regions.common_units(areas(VISp=30, LGd=6), 8)


def test_a_negative_number_of_units_is_refused_and_does_not_leave_out_the_last_ones() -> None:
    with pytest.raises(ValueError, match=r"regions.n_units is -3, expected 1 or more, or 0 for the number"):
        regions.common_units(areas(VISp=30, LGd=6), -3)


def test_intervals_of_areas_are_within_the_range_and_over_pairs_of_images() -> None:
    """Areas that identify nearly all images: the interval ends at 1. And images count as competitors, too."""
    near = {"VISp": {6: 1 - 0.02 * np.random.default_rng([6]).exponential(size=(1, N)) ** 2}}
    (row,) = regions.curve_rows(near, SPLIT, n_resamples=2000, seed=0)
    assert 0 <= row["low"] < row["score"] < row["high"] <= 1
    rng = np.random.default_rng([8])
    shown = rng.normal(size=(N, 16))
    x = shown @ rng.normal(size=(16, 20)) + rng.normal(0, 8, (N, 20))
    _, values = curves.pixel_scores(x, shown, SPLIT, alphas=[10.0, 100.0], n_columns=20)
    assert 0.5 < values.mean() < 1
    assert values.max() > 1  # identified, and beaten by those that compete with it


def test_an_interval_holds_its_mean_and_shrinks_with_agreement() -> None:
    rng = np.random.default_rng([5])
    scores = {"VISp": {6: rng.normal(0.7, 0.1, (3, N))}, "CA1": {6: rng.normal(0.5, 0.01, (3, N))}}
    wide, narrow = regions.curve_rows(scores, SPLIT, n_resamples=2000, seed=0)
    for row in (wide, narrow):
        assert row["low"] < row["score"] < row["high"]
    assert narrow["high"] - narrow["low"] < (wide["high"] - wide["low"]) / 5


def test_pairs_that_differ_are_told_from_pairs_that_do_not() -> None:
    rng = np.random.default_rng([7])
    common = rng.normal(0, 0.2, N)  # some images are easier for every area: pairs are compared image by image
    scores = {
        name: (mean + common + rng.normal(0, 0.05, (2, N))) for name, mean in (("a", 0.7), ("b", 0.7), ("c", 0.6))
    }
    rows = {(row["area"], row["other"]): row for row in regions.pair_rows(scores, SPLIT, n_draws=5000, seed=0)}
    assert rows["a", "c"]["p_holm"] < 0.01
    assert rows["a", "c"]["difference"] == pytest.approx(0.1, abs=0.03)
    assert rows["a", "b"]["p_holm"] > 0.05
    for row in rows.values():
        assert row["p"] <= row["p_holm"] <= 1


def test_signs_give_uniform_p_values_when_nothing_differs() -> None:
    p = [
        regions.sign_flip_p(np.random.default_rng([9, i]).normal(size=N), spread=1.0, n_draws=400, seed=i)
        for i in range(400)
    ]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09
    assert regions.sign_flip_p(np.zeros(N), spread=1.0, n_draws=99, seed=0) == 1.0


def responses(image_id: np.ndarray, area: list[str], n_windows: int, seed: int) -> Responses:
    n, rng = len(area), np.random.default_rng([seed])
    return Responses.make(
        counts=rng.poisson(4.0, (len(image_id), n, n_windows)).astype(np.uint16),
        image_id=image_id,
        presentation_id=np.arange(len(image_id))[:, None],
        session_id=np.array([1]),
        window_s=np.column_stack([np.arange(n_windows), np.arange(n_windows) + 1.0]),
        units=UnitTable(np.arange(n), np.ones(n, np.int64), np.array(area), *([np.zeros(n)] * 5)),
    )


def test_a_unit_is_one_column_whatever_the_number_of_its_time_bins() -> None:
    shown = np.random.default_rng([3]).permutation(np.repeat([BLANK, 4, 7], 5))
    of_bins = responses(shown, ["VISp", "LGd", "VISp"], 4, seed=1)
    x = regions.means_by_area({"visual": of_bins}, np.array([7, 4]))
    assert {area: values.shape for area, values in x.items()} == {"VISp": (2, 2), "LGd": (2, 1)}
    np.testing.assert_allclose(x["LGd"][0, 0], of_bins.counts[shown == 7, 1].sum(1).mean())


def test_a_shuffled_control_stands_beside_the_areas_that_it_is_made_of() -> None:
    shown = np.repeat([4, 7], 5)
    visual, other = responses(shown, ["VISp", "LGd"], 1, seed=1), responses(shown, ["CA1"], 1, seed=2)
    alone = regions.means_by_area({"visual": visual}, np.array([4, 7]))
    both = regions.means_by_area({"visual": visual, "control": sessions.shuffled(visual)}, np.array([4, 7]))
    assert list(both) == ["VISp", "LGd", "VISp of control", "LGd of control"]
    for area in ("VISp", "LGd"):
        np.testing.assert_array_equal(both[area], alone[area])
        np.testing.assert_array_equal(both[f"{area} of control"], alone[area][::-1])
    assert list(regions.means_by_area({"visual": visual, "control": other}, np.array([4, 7]))) == ["VISp", "LGd", "CA1"]


def test_units_that_never_vary_are_no_units_of_an_area(capsys: pytest.CaptureFixture[str]) -> None:
    shown = np.repeat([4, 7], 5)
    visual = responses(shown, ["VISp", "VISp", "LGd"], 1, seed=1)
    visual.counts[:, 0], visual.counts[:, 2] = 0, 3
    found = regions.means_by_area({"visual": visual}, np.array([4, 7]))
    assert {area: values.shape for area, values in found.items()} == {"VISp": (2, 1)}
    assert "LGd is left out: none of its units (1) responds differently" in capsys.readouterr().out
    visual.counts[:] = 1
    with pytest.raises(ValueError, match="no unit of any area responds differently to any two images"):
        regions.means_by_area({"visual": visual}, np.array([4, 7]))
