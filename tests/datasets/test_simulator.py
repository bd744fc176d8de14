"""The simulated session: its structure, its parts one by one, and its likeness to published recordings."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from spikevaediff.datasets.simulated import crops
from spikevaediff.datasets.simulation.gabor import tuning
from spikevaediff.datasets.simulation.simulator import AREAS, FRAMES_PER_SLOT, SLOT_S, simulate, stratified
from spikevaediff.images import resize
from spikevaediff.recordings.nwb_writer import Recording
from spikevaediff.records import BLANK

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "vendor" / "data" / "simulated"
# The numbers that are shipped, so that the likeness below is that of the embedded data set.
OPTIONS = dict(YAML(typ="safe").load(ROOT / "params.yaml")["datasets"]["simulated"]) | {"movie_repeats": 0}


def _pixels(n: int = 6) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (n, 32, 32), np.uint8)


def _small(**options: object) -> Recording:
    return simulate(_pixels(), np.arange(6), **{**OPTIONS, "n_repeats": 4, "spontaneous_s": 1.0, **options})


@pytest.fixture(scope="module")
def small() -> Recording:
    return _small()


def _areas(recording: Recording) -> np.ndarray:
    """Area of every unit that passes the default filter, "" for the others."""
    location = dict(zip(recording.electrodes["id"].tolist(), recording.electrodes["location"].tolist(), strict=True))
    area = np.array([location[channel].split("-")[0] for channel in recording.units["peak_channel_id"].tolist()])
    units = recording.units
    good = (units["isi_violations"] <= 0.5) & (units["amplitude_cutoff"] <= 0.1) & (units["presence_ratio"] >= 0.95)
    return np.where(good & (units["quality"] == "good") & (area != "None"), area, "")


def _counts(recording: Recording, area: str, start_s: float = 0.0, stop_s: float = 0.25) -> np.ndarray:
    """Spikes of an area's good units after each onset, float64 (n_presentations, n_units)."""
    onset_s = recording.frame_s[recording.frames[:, 0]]
    trains = [recording.spikes_s[unit] for unit in np.flatnonzero(_areas(recording) == area)]
    edges = [np.searchsorted(train, [onset_s + start_s, onset_s + stop_s]) for train in trains]
    return np.stack([stop - start for start, stop in edges], axis=1).astype(float)


# ---- structure


def test_every_image_and_the_blank_are_shown_equally_often_and_back_to_back(small: Recording) -> None:
    shown, times = np.unique(small.image_id, return_counts=True)
    assert shown.tolist() == [BLANK, *range(6)]
    assert set(times) == {4}
    assert np.all(np.diff(small.frames, axis=1) == FRAMES_PER_SLOT)
    for number in (1, 2, 3):
        here = small.frames[small.block == number]
        assert np.array_equal(here[1:, 0], here[:-1, 1])
    assert np.allclose(np.diff(small.frame_s[small.frames], axis=1), SLOT_S)


def test_grey_screens_lie_before_between_and_after_three_blocks(small: Recording) -> None:
    assert np.unique(small.block).tolist() == [1, 2, 3]
    blocks = np.array(
        [[small.frames[small.block == n][0, 0], small.frames[small.block == n][-1, 1]] for n in (1, 2, 3)]
    )
    assert np.array_equal(small.spontaneous_frames[:-1, 1], blocks[:, 0])
    assert np.array_equal(small.spontaneous_frames[1:, 0], blocks[:, 1])
    assert np.all(np.diff(small.spontaneous_frames, axis=1) == 4 * FRAMES_PER_SLOT)


def test_spikes_are_sorted_within_the_session_and_whole_microseconds(small: Recording) -> None:
    first_s, last_s = small.frame_s[small.spontaneous_frames[0, 0]], small.frame_s[small.spontaneous_frames[-1, 1]]
    for train in small.spikes_s:
        assert np.all(np.diff(train) >= 0)
        assert np.all((train > first_s) & (train < last_s))
        assert np.array_equal(train, np.round(train, 6))


def test_the_units_are_those_of_the_table(small: Recording) -> None:
    names, n = np.unique(_areas(small), return_counts=True)
    found = dict(zip(names.tolist(), n.tolist(), strict=True))
    del found[""]
    assert found == {name: area.n_units for name, area in AREAS.items()}


def test_firing_rate_is_spikes_over_the_session(small: Recording) -> None:
    duration_s = np.ptp(small.frame_s[small.spontaneous_frames[[0, -1], [0, 1]]])
    assert np.allclose(small.units["firing_rate"], [len(train) / duration_s for train in small.spikes_s])


def test_a_gap_in_the_stimulus_record_spoils_three_presentations(small: Recording) -> None:
    ((start_s, stop_s, _),) = [gap for gap in small.invalid if "stimulus" in gap[2]]
    begins, ends = small.frame_s[small.frames].T
    assert np.sum((begins <= stop_s) & (ends >= start_s)) == 3


def test_the_same_seed_gives_the_same_session_and_another_seed_other_spikes(small: Recording) -> None:
    again, other = _small(), _small(seed=1)
    for field in fields(Recording):
        one, two = getattr(small, field.name), getattr(again, field.name)
        if isinstance(one, dict):
            assert all(np.array_equal(one[name], two[name]) for name in one)
        elif field.name == "spikes_s":
            assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
        else:
            assert np.array_equal(one, two) if isinstance(one, np.ndarray) else one == two
    assert not np.array_equal(small.image_id, other.image_id)
    assert all(not np.array_equal(a, b) for a, b in zip(small.spikes_s, other.spikes_s, strict=False) if len(a) > 3)


def test_images_may_have_any_numbers_in_any_order() -> None:
    pixels, options = _pixels(3), {**OPTIONS, "n_repeats": 2, "spontaneous_s": 1.0}
    one = simulate(pixels, np.array([5, 40, 17]), **options)
    assert np.unique(one.image_id).tolist() == [BLANK, 5, 17, 40]


def test_a_movie_leaves_the_spikes_of_the_images_as_they_are(small: Recording) -> None:
    movie = _pixels(15)
    found = _small(movie=movie, movie_repeats=4)
    shown = found.movies["natural_movie_one"]
    assert shown.frame.tolist() == list(range(15)) * 4
    assert (np.diff(shown.frames, axis=1) == 2).all()
    end_s = found.frame_s[found.spontaneous_frames[-1, 1]]
    assert found.frame_s[shown.frames[0, 0]] == end_s
    for field in ("image_id", "block", "frames", "spontaneous_frames", "running_cm_per_s"):
        np.testing.assert_array_equal(getattr(found, field), getattr(small, field))
    for name, values in small.units.items():
        np.testing.assert_array_equal(found.units[name], values)
    for with_movie, without in zip(found.spikes_s, small.spikes_s, strict=True):
        np.testing.assert_array_equal(with_movie[: len(without)], without)
        assert np.all(np.diff(with_movie) >= 0)
        assert np.all(with_movie[len(without) :] >= end_s)
    assert small.movies == {}
    with pytest.raises(ValueError, match="movie_repeats is 2; 0 without a movie, and 1 or more with one, are needed"):
        _small(movie_repeats=2)


def test_units_answer_a_movie_as_they_answer_its_pictures() -> None:
    """Mean counts to long still shots, against mean counts to the same pictures as images, unit by unit."""
    quiet = {"shared_gain": 0.0, "drift": 0.0, "log_gain": 1.0, "n_repeats": 60}
    still = np.repeat(_pixels(), 30, axis=0)  # a second each
    found = _small(movie=still, movie_repeats=60, **quiet)
    good = np.flatnonzero(_areas(found) == "VISp")
    rates = []
    for onset, window, number in (
        (found.frame_s[found.frames[:, 0]], (0.04, 0.29), found.image_id),
        (found.frame_s[found.movies["natural_movie_one"].frames[12::30, 0]], (0.0, 0.5), np.tile(np.arange(6), 60)),
    ):
        counts = [np.diff(np.searchsorted(found.spikes_s[u], onset[:, None] + window), axis=1)[:, 0] for u in good]
        means = [[c[number == image].mean() for image in range(6)] for c in counts]
        rates.append(np.array(means) / (window[1] - window[0]))
    images, movie = (r - r.mean(1, keepdims=True) for r in rates)
    assert np.corrcoef(images.ravel(), movie.ravel())[0, 1] > 0.9


# ---- the parts of the model


def test_stratified_draws_fill_every_part_of_the_distribution_once() -> None:
    group = np.array(["a"] * 50 + ["b"] * 7)
    drawn = stratified(np.random.default_rng(0), group, lambda u: u)
    for name, n in (("a", 50), ("b", 7)):
        assert sorted((drawn[group == name] * n).astype(int)) == list(range(n))


def test_tuning_is_standardised_and_blind_to_a_uniform_grey() -> None:
    pixels = np.concatenate([60 + _pixels(5) // 3, np.full((1, 32, 32), 90, np.uint8)])
    field = np.linspace(0.7, 2.0, 40)
    like = tuning(pixels, np.random.default_rng(3), field=field)
    np.testing.assert_allclose(like.mean(1), 0, atol=1e-12)
    np.testing.assert_allclose(like.std(1), 1, atol=1e-12)
    assert np.all(like[:, 5] <= like.min(1) + 1e-6)
    brighter = tuning(pixels + np.uint8(40), np.random.default_rng(3), field=field)
    # The drive of the grey image is a rounding error, whose square root is not: 1e-16 becomes 1e-8.
    np.testing.assert_allclose(brighter, like, atol=1e-6)


def test_the_energy_of_a_grating_is_greatest_at_the_units_own_orientation() -> None:
    """Known answer: the tuning curve of units to gratings, by a route of its own."""
    angle = np.pi * np.arange(12) / 12
    row, column = np.mgrid[:64, :64] / 64
    # Four cycles per image, in two phases, so that no unit's own phase decides.
    waves = [np.sin(2 * np.pi * 4 * (column * np.cos(a) + row * np.sin(a)) + p) for a in angle for p in (0, np.pi / 2)]
    pixels = np.round(127.5 + 100 * np.array(waves)).astype(np.uint8)
    like = tuning(pixels, np.random.default_rng(0), field=np.ones(60)).reshape(60, 12, 2).mean(2)
    axis = np.angle((like * np.exp(2j * angle)).sum(1)) / 2
    size, orientation = np.random.default_rng(0).random((2, 60))  # the first two vectors that are drawn
    cycles = 0.35 / (0.04 * 3.0**size)
    near = np.abs(np.log(cycles / 4)) < 0.3  # units for which the gratings are neither too fine nor too coarse
    error = np.abs(np.angle(np.exp(2j * (axis - np.pi * orientation)))) / 2
    assert np.sum(near) > 15
    assert np.all(error[near] < np.deg2rad(15))


def test_without_gains_and_tuning_the_counts_are_poisson() -> None:
    options = {"log_gain": 0.0, "shared_gain": 0.0, "drift": 0.0, "private_shape": 1e9, "n_repeats": 60}
    counts = _counts(_small(**options), "CA1")
    ratio = counts.var(0, ddof=1) / counts.mean(0)
    assert abs(np.mean(ratio) - 1) < 0.03  # 85 units x 420 presentations: its standard error is 0.0075


def test_the_mean_rate_of_an_area_is_that_of_the_table() -> None:
    recording = _small(n_repeats=60)
    area = _areas(recording)
    for name in ("VISp", "VISrl", "CA1"):
        found = recording.units["firing_rate"][area == name].mean()
        assert abs(found / AREAS[name].rate_hz - 1) < 0.08


def test_private_noise_adds_its_variance_and_a_shared_gain_correlates_the_units() -> None:
    quiet = {"log_gain": 0.0, "drift": 0.0, "n_repeats": 100, "shared_correlation": 0.0}
    private = _counts(_small(**quiet, shared_gain=0.0, private_shape=2.0), "CA1")
    shared = _counts(_small(**quiet, shared_gain=0.5, private_shape=1e9), "CA1")
    # Poisson with a gamma mean: variance = mean + mean^2 / shape. A window that holds a share p of one response and
    # 1 - p of the one before has p^2 + (1 - p)^2 of the second term, here 0.7 to 0.8 of 1/2.
    mean, variance = private.mean(0), private.var(0, ddof=1)
    excess = ((variance - mean) / mean**2)[mean > 1].mean()
    assert 0.3 < excess < 0.5
    off = ~np.eye(shared.shape[1], dtype=bool)
    assert np.corrcoef(shared.T)[off].mean() > 0.05
    assert abs(np.corrcoef(private.T)[off].mean()) < 0.01


def test_a_blank_is_weaker_where_units_are_tuned_and_only_there() -> None:
    recording = _small(n_repeats=200, blank_rate=0.5, shared_gain=0.0, drift=0.0)
    blank = recording.image_id == BLANK
    before = np.append(True, blank[:-1])  # a response goes on into the next slot, so two alike are looked for
    for area, expected in (("VISp", 0.5), ("CA1", 1.0)):
        total = _counts(recording, area, 0.0, SLOT_S).sum(1)
        assert abs(total[blank & before].mean() / total[~blank & ~before].mean() - expected) < 0.08


def test_drift_moves_rates_over_the_session_and_only_then() -> None:
    def change(drift: float) -> float:
        counts = _counts(_small(n_repeats=60, drift=drift, shared_gain=0.0, log_gain=0.0), "CA1")
        half = len(counts) // 2
        return float(np.std(np.log((counts[half:].sum(0) + 1) / (counts[:half].sum(0) + 1))))

    assert change(0.5) > 2 * change(0.0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n_repeats": 0}, "n_repeats is 0"),
        ({"spontaneous_s": 0.1}, r"spontaneous_s 0\.1; at least 1 and 0\.2502"),
        ({"shared_correlation": 1.0}, r"shared_correlation is 1\.0, expected 0 <= shared_correlation < 1"),
        ({"private_shape": 0.0}, r"private_shape is 0\.0 .* above 0"),
        ({"blank_rate": 0.0}, r"blank_rate 0\.0; both must be above 0"),
    ],
)
def test_an_option_without_meaning_is_refused(options: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        _small(**options)


def test_one_image_is_refused() -> None:
    with pytest.raises(ValueError, match="1 images: tuning is a difference"):
        simulate(_pixels(1), np.array([0]), **OPTIONS)


# ---- likeness to recordings, on the scenes of the embedded data set


def scenes() -> tuple[np.ndarray, np.ndarray]:
    """image_id and pixels of the embedded data set."""
    try:
        image_id, cut = crops(DATA, "scene")
    except FileNotFoundError as error:
        pytest.skip(f"the photographs are not here: {error}")
    return image_id, np.concatenate([resize(scene[None], 256) for scene in cut])


@pytest.fixture(scope="module")
def session() -> Recording:
    image_id, pixels = scenes()
    return simulate(pixels, image_id, **OPTIONS)


def _reliability(counts: np.ndarray, image_id: np.ndarray) -> np.ndarray:
    """Correlation of the mean responses to 118 images in odd and even presentations, corrected after Spearman-Brown."""
    order = np.argsort(image_id, kind="stable")
    by_image = counts[order][image_id[order] != BLANK].reshape(118, 50, -1)
    halves = [by_image[:, start::2].mean(1) for start in (0, 1)]
    one, two = [half - half.mean(0) for half in halves]
    raw = (one * two).sum(0) / np.sqrt((one**2).sum(0) * (two**2).sum(0))
    return 2 * raw / (1 + raw)


def _decoding(counts: np.ndarray, image_id: np.ndarray) -> np.ndarray:
    """Accuracy of the AllenSDK's example decoder in 5 contiguous folds, as it was published."""
    svm = pytest.importorskip("sklearn.svm")
    fold = np.arange(len(image_id)) // -(-len(image_id) // 5)
    machines = [svm.SVC().fit(counts[fold != k], image_id[fold != k]) for k in range(5)]
    return np.array([(m.predict(counts[fold == k]) == image_id[fold == k]).mean() for k, m in enumerate(machines)])


@pytest.mark.slow
def test_93_visp_units_tell_119_conditions_apart_as_well_as_in_session_791319847(session: Recording) -> None:
    """Published: 0.414 0.497 0.497 0.507 0.473 (AllenSDK quick start)."""
    accuracy = _decoding(_counts(session, "VISp"), session.image_id)
    print("RBF SVC, VISp:", accuracy.round(3), accuracy.mean().round(3))
    assert abs(accuracy.mean() - 0.478) < 0.08


@pytest.mark.slow
def test_ca1_is_at_chance(session: Recording) -> None:
    accuracy = _decoding(_counts(session, "CA1"), session.image_id)
    print("RBF SVC, CA1:", accuracy.round(4), accuracy.mean().round(4))
    # Chance is 1/119; 5950 trials give it a standard error of 0.0012.
    assert accuracy.mean() < 1 / 119 + 4 * 0.0012


@pytest.mark.slow
def test_rates_are_spread_as_in_session_791319847(session: Recording) -> None:
    """Published, VISp, movie: 5/25/50/75/95 % at 0.4/2.0/5.4/12.0/25.0 Hz, mean 8.3."""
    rates = session.units["firing_rate"][_areas(session) == "VISp"]
    found = np.percentile(rates, [5, 25, 50, 75, 95])
    print("VISp rates, Hz:", found.round(2), rates.mean().round(2))
    np.testing.assert_allclose(found, [0.4, 2.0, 5.4, 12.0, 25.0], rtol=0.2)
    assert abs(rates.mean() - 8.3) < 0.8


@pytest.mark.slow
def test_responses_are_as_reliable_as_published(session: Recording) -> None:
    """Published medians over 32 sessions (Huang et al. 2023), and for VISp the percentiles."""
    medians = {"VISp": 0.928, "VISl": 0.886, "VISal": 0.866, "VISpm": 0.850, "VISam": 0.819, "VISrl": 0.808}
    for area, median in medians.items():
        found = np.percentile(_reliability(_counts(session, area), session.image_id), [5, 25, 50, 75, 95])
        print(area, found.round(3))
        assert abs(found[2] - median) < 0.08
        if area == "VISp":
            error = np.abs(found - [0.64, 0.87, 0.928, 0.957, 0.982])
            assert np.all(error < [0.12, 0.06, 0.03, 0.02, 0.02])


@pytest.mark.slow
def test_image_information_comes_at_40_ms_peaks_near_100_ms_and_outlasts_the_image(session: Recording) -> None:
    def reliability(start_s: float, stop_s: float) -> float:
        return float(np.nanmedian(_reliability(_counts(session, "VISp", start_s, stop_s) + 1e-9, session.image_id)))

    course = {t: reliability(t, t + 0.025) for t in (0.0, 0.075, 0.1, 0.2, 0.275, 0.4)}
    print("information:", {t: round(value, 2) for t, value in course.items()})
    assert abs(course[0.0]) < 0.1
    assert abs(course[0.4]) < 0.1
    assert max(course, key=lambda t: course[t]) in (0.075, 0.1)
    assert course[0.275] > 0.3
