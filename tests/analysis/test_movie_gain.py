"""What movies add: ridge regression against plain algebra, blocks that stay whole, and a case in which they help."""

import numpy as np
import pytest

from spikevaediff.analysis import movies as study
from spikevaediff.analysis.curves import likeness, pixel_scores
from spikevaediff.recordings import movies
from spikevaediff.records import ImageSplit, Responses, Stimuli, UnitTable

ALPHAS = [1.0, 10.0, 100.0]
N, M, UNITS, PX = 20, 40, 30, 4


def known(n: int, seed: int) -> study.Known:
    """Responses that are linear in the image, with noise."""
    rng = np.random.default_rng(seed)
    y = 127 + 40 * rng.standard_normal((n, PX**2))
    weights = np.random.default_rng(99).standard_normal((PX**2, UNITS))
    return study.Known((y - 127) @ weights / 40 + 3 * rng.standard_normal((n, UNITS)), y.astype(np.float32))


def split() -> ImageSplit:
    return ImageSplit(np.arange(N), np.arange(N) % 4)


def test_a_prediction_is_ridge_from_all_rows() -> None:
    train = np.ones(N, bool)
    scenes, film = known(N, 0).around(train), known(M, 1).around(np.ones(M, bool))
    new = known(3, 2).x
    found = study.predicted(scenes, film, new, [10.0])
    deviation = scenes.x.std(0)
    x, y = np.concatenate([scenes.x, film.x]) / deviation, np.concatenate([scenes.y, film.y]).astype(np.float64)
    # Both kinds have mean 0, so that there is no intercept.
    expected = new / deviation @ np.linalg.solve(x.T @ x + 10 * np.eye(UNITS), x.T @ y)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-2)


def test_without_movies_the_scores_are_those_of_the_curves() -> None:
    scenes = known(N, 0)
    found = study.of_scenes(scenes, None, split(), ALPHAS)
    expected = pixel_scores(scenes.x, scenes.y, split(), alphas=ALPHAS, n_columns=UNITS)
    # In the order of folds, not of images.
    order = np.argsort(split().fold, kind="stable")
    np.testing.assert_allclose(found[0], expected[0][order], atol=1e-4)
    assert found[1].mean() == pytest.approx(expected[1].mean(), abs=1e-9)


def test_movies_help_and_a_block_is_never_learnt_from_when_it_is_tested() -> None:
    scenes, film = known(N, 0), known(M, 1)
    alone, both = (study.of_scenes(scenes, rows, split(), ALPHAS)[0].mean() for rows in (None, film))
    assert both > alone + 0.1
    block = movies.blocks(movies.frame_ids("natural_movie_one", M), 4)
    one = study.of_blocks(scenes, film, block, ALPHAS, learn=True)[0]
    # Images of the tested block that are noise change its own scores alone, and to chance.
    other = study.Known(film.x, film.y.copy())
    other.y[block == 2] = 127 + 40 * np.random.default_rng(8).standard_normal((10, PX**2))
    for learn in (True, False):
        found = study.of_blocks(scenes, other, block, ALPHAS, learn=learn)[0]
        assert abs(found[block == 2].mean()) < 0.3
    assert one.mean() > 0.3


def test_likeness_is_the_correlation() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5, 7))
    np.testing.assert_allclose(likeness(a, b)[0], [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)])


def test_the_table_has_a_row_for_each_test_and_set_of_rows() -> None:
    rng = np.random.default_rng(3)
    n_frames = 12

    def responses(image_id: np.ndarray) -> Responses:
        nothing = [np.full(5, np.nan)] * 5
        return Responses.make(
            counts=rng.poisson(4, (len(image_id), 5, 1)).astype(np.uint16),
            image_id=image_id,
            presentation_id=np.arange(len(image_id))[:, None],
            session_id=np.array([1]),
            window_s=np.array([[0.0, 0.25]]),
            units=UnitTable(np.arange(5), np.ones(5, np.int64), np.array(["VISp"] * 5), *nothing),
        )

    def pictures(image_id: np.ndarray) -> Stimuli:
        return Stimuli("t", image_id, rng.integers(0, 256, (len(image_id), 8, 8), dtype=np.uint8))

    frames = movies.frame_ids("natural_movie_one", n_frames)
    rows = list(
        study.rows(
            responses(np.repeat(np.arange(N), 2)),
            pictures(np.arange(N)),
            split(),
            (pictures(frames), responses(np.repeat(frames, 2))),
            {False: 0.25, True: 0.5},
            n_blocks=3,
            size_px=PX,
            alphas=ALPHAS,
        )
    )
    assert [(row["tested"], row["learnt_from"], row["n_tested"], row["encoder_r"]) for row in rows] == [
        ("scenes", "scenes", N, 0.25),
        ("scenes", "scenes and movies", N, 0.5),
        ("blocks of movies", "scenes", n_frames, None),
        ("blocks of movies", "scenes and movies", n_frames, None),
    ]
    for row in rows:
        assert -1 <= row["correlation"] <= 1
        assert 0 <= row["two_way"] <= 1


def test_units_that_keep_their_mean_have_no_correlation() -> None:
    """By folds, the mean of the other images falls as the response left out rises: it is taken off first."""
    rng = np.random.default_rng(5)
    measured = rng.standard_normal((40, 3))
    kept = np.zeros((40, 3), np.float32) + 1e-8 * rng.standard_normal((40, 3)).astype(np.float32)
    np.testing.assert_array_equal(study._correlation(measured, kept), 0)
    expected = [np.corrcoef(measured[:, j], measured[::-1, j])[0, 1] for j in range(3)]
    np.testing.assert_allclose(study._correlation(measured, measured[::-1]), expected)
