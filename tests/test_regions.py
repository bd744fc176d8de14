"""Areas are compared at equal numbers of units, and areas that know nothing do not differ."""

import numpy as np
import pytest

from spikevaediff import regions
from spikevaediff.records import ImageSplit

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


def test_folds_are_joined_by_image() -> None:
    shuffled = np.array([5, 3, 9])
    split = ImageSplit(np.sort(shuffled), np.array([1, 0, 1]))
    assert dict(zip(split.test_ids.tolist(), regions.folds_of(split).tolist(), strict=True)) == {3: 1, 5: 0, 9: 1}
