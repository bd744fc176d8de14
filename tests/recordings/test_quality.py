"""Numbers about recordings, on responses that were made to have them, and against those published."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import close

from spikevaediff.analysis import latency
from spikevaediff.recordings import behaviour, quality, session_quality
from spikevaediff.recordings.nwb import read_presentations
from spikevaediff.recordings.spike_counts import read_responses
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.records import BLANK, Responses, UnitTable
from spikevaediff.report.figures import recording_plots

N_IMAGES, N_REPEATS, N_UNITS = 40, 30, 6
RNG = np.random.default_rng(0)
SHOWN = RNG.permutation(np.repeat(np.arange(BLANK, N_IMAGES), N_REPEATS))
TUNING = 3 * RNG.standard_normal((N_IMAGES + 1, N_UNITS)) + 20


def noisy(sigma: float, shared: float = 0.0) -> np.ndarray:
    noise = sigma * RNG.standard_normal((len(SHOWN), N_UNITS)) + shared * RNG.standard_normal((len(SHOWN), 1))
    return TUNING[SHOWN + 1] + noise


def test_the_fano_factor_of_poisson_counts_is_one_and_of_a_gamma_mixture_more() -> None:
    poisson = RNG.poisson(TUNING[SHOWN + 1])
    assert quality.fano_factor(poisson, SHOWN) == pytest.approx(np.ones(N_UNITS), abs=0.17)
    mixed = RNG.poisson(TUNING[SHOWN + 1] * RNG.gamma(20.0, 1 / 20, (len(SHOWN), N_UNITS)))
    expected = 1 + np.mean(TUNING[1:] ** 2, axis=0) / 20 / TUNING[1:].mean(0)
    assert quality.fano_factor(mixed, SHOWN) == pytest.approx(expected, rel=0.17)
    assert np.isnan(quality.fano_factor(np.zeros((len(SHOWN), 2)), SHOWN)).all()
    assert np.isnan(quality.fano_factor(poisson[:3], np.array([1, 2, 3]))).all()


def test_the_noise_ceiling_is_the_share_of_signal_in_the_variance_of_one_presentation() -> None:
    """Signal of variance 9 with noise of 1, 9 and 36; by hand on four numbers; unequal repeats; nothing without."""
    for sigma in (1.0, 3.0, 6.0):
        found = quality.noise_ceiling(noisy(sigma), SHOWN)
        signal = TUNING[1:].var(0, ddof=1)
        assert found == pytest.approx(signal / (signal + sigma**2), abs=0.06)
    # Images 0 and 1 with means 2 and 6, variances within 2 and 2: signal 8 - 2/2 = 7, noise 2.
    x = np.array([[1.0], [3.0], [5.0], [7.0]])
    assert quality.noise_ceiling(x, np.array([0, 0, 1, 1])) == pytest.approx([7 / 9], rel=1e-12)
    # A blank and an image that was shown once say nothing.
    more = np.array([[1.0], [3.0], [5.0], [7.0], [100.0], [-50.0], [50.0]])
    assert quality.noise_ceiling(more, np.array([0, 0, 1, 1, 2, BLANK, BLANK])) == pytest.approx([7 / 9], rel=1e-12)
    assert quality.noise_ceiling(x - 4, np.array([0, 1, 0, 1])) == pytest.approx([0.0])
    assert np.isnan(quality.noise_ceiling(x, np.array([0, 1, 2, 3]))).all()
    assert np.isnan(quality.noise_ceiling(0 * x, np.array([0, 0, 1, 1]))).all()


def test_split_half_reliability_is_the_share_of_signal_in_the_variance_of_means() -> None:
    each, common = quality.split_half(noisy(sigma=9.0), SHOWN, n_draws=10, seed=0)
    signal = TUNING[1:].var(0, ddof=1)
    assert each == pytest.approx(signal / (signal + 81 / N_REPEATS), abs=0.12)
    assert quality.area_reliability(common, 2.0) == pytest.approx(each.mean(), abs=0.06)
    silent = np.hstack([noisy(1.0), np.zeros((len(SHOWN), 1))])
    assert np.isnan(quality.split_half(silent, SHOWN, n_draws=1, seed=0)[0][-1])
    assert quality.area_reliability(quality.split_half(silent[:, -1:], SHOWN, n_draws=1, seed=0)[1], 2.0) == 0


def test_a_unit_that_seldom_fires_has_a_reliability_and_one_that_never_does_has_none() -> None:
    """One spike is in one half alone, which leaves the other without variance: 0, not unknown."""
    x = np.zeros((len(SHOWN), 3))
    x[np.flatnonzero(SHOWN == 4)[0], 0] = 1
    x[:, 1] = TUNING[SHOWN + 1, 1]
    each, _ = quality.split_half(x, SHOWN, n_draws=3, seed=0)
    assert each[0] == 0
    assert each[1] == pytest.approx(1)
    assert np.isnan(each[2])


def test_different_mean_rates_without_tuning_are_not_reliable() -> None:
    x = np.array([1.0, 50.0, 200.0]) + RNG.standard_normal((len(SHOWN), 3))
    each, common = quality.split_half(x, SHOWN, n_draws=20, seed=0)
    assert each.max() < 0.5
    assert quality.area_reliability(common, 2.0) < 0.4


def test_noise_correlation_is_what_presentations_share_and_signal_correlation_what_images_do() -> None:
    found = quality.pair_correlations(noisy(2.0, shared=1.0), SHOWN, seed=0)
    assert found["noise"] == pytest.approx(1 / (4 + 1), abs=0.03)
    assert found["noise_median"] == pytest.approx(found["noise"], abs=0.03)
    assert found["noise_first_share"] == pytest.approx((1 + 5 * 0.2) / 6, abs=0.05)
    expected = np.corrcoef(TUNING[1:].T)[np.triu_indices(N_UNITS, 1)].mean()
    assert found["signal"] == pytest.approx(expected, abs=0.05)
    # Noise that two units share in a presentation is not a signal that they share: the halves do not have it in common.
    alone = quality.pair_correlations(3 * RNG.standard_normal((len(SHOWN), 1)) + np.zeros((1, 4)), SHOWN, seed=0)
    assert alone["noise"] == pytest.approx(1)
    assert abs(alone["signal"]) < 0.4


def test_without_repeats_or_pairs_correlations_are_not_known() -> None:
    for x, shown in ((noisy(1.0)[:, :1], SHOWN), (noisy(1.0)[:20], np.arange(20))):
        assert set(quality.pair_correlations(x, shown, seed=0).values()) == {None}
    each, common = quality.split_half(noisy(1.0)[:20], np.arange(20), n_draws=2, seed=0)
    assert np.isnan(each).all()
    assert quality.area_reliability(common, 2.0) is None


def test_drift_is_the_change_over_the_session() -> None:
    rising = np.linspace(1, 3, 300)[:, None] * np.array([[1.0, 2.0, 0.0]])
    assert quality.drift(rising)[:2] == pytest.approx([2 / 3, 2 / 3], abs=0.01)
    assert np.isnan(quality.drift(rising)[2])
    course = quality.course(rising, 5)
    close(course[:, 0], course[:, 1])
    assert course[:, 0].mean() == pytest.approx(1)
    assert np.all(np.diff(course[:, 0]) > 0)


def test_what_falls_below_0_has_no_size_to_be_relative_to() -> None:
    """z-scored activity has a mean of rounding: relative to it, a change of 0.1 was one of 1e8."""
    x = RNG.standard_normal((300, 3))
    x = (x - x.mean(0)) / x.std(0)
    x[:, 2] = np.abs(x[:, 2])
    runs = np.arange(300) % 3 == 0
    for found in (quality.drift(x), *quality.course(x, 5), quality.running_ratio(x, runs, ~runs)):
        assert np.isnan(found).tolist() == [True, True, False]
    assert abs(quality.drift(x)[2]) <= 3


def test_the_running_ratio_is_that_of_the_means_and_never_by_nearly_nothing() -> None:
    runs, still = np.arange(300) < 100, np.arange(300) >= 150
    x = np.zeros((300, 4))
    x[runs], x[100:150] = [4.0, 1.0, 0.0, 5.0], 77.0  # of the middle the speed is not known
    x[still] = [2.0, 2.0, 0.0, 0.049]
    np.testing.assert_array_equal(quality.running_ratio(x, runs, still), [2.0, 0.5, np.nan, np.nan])
    x[still, 3] = 0.0625
    assert quality.running_ratio(x, runs, still)[3] == 80
    assert np.isnan(quality.running_ratio(x, runs, np.zeros(300, bool))).all()


def test_percentiles_leave_out_what_is_not_known() -> None:
    assert quality.percentiles(np.array([np.nan])) is None
    found = quality.percentiles(np.array([np.nan, *range(101)]))
    assert found == {"p5": 5, "p25": 25, "p50": 50, "p75": 75, "p95": 95, "mean": 50}


def test_published_numbers_are_those_of_their_tables(shared: Path) -> None:
    with np.load(shared / "data/anchors/split_half_reliability_natural_scenes.npz") as file:
        for area, (median, share) in quality.PUBLISHED_RELIABILITY.items():
            values = file[area.lower()]
            assert np.median(values) == pytest.approx(median, abs=5e-4)
            assert np.mean(values >= 0.8) == pytest.approx(share, abs=6e-3)
    assert np.mean(quality.PUBLISHED_ACCURACY) == pytest.approx(0.478, abs=1e-3)


LIMITS = Limits(isi_violations_max=0.5, amplitude_cutoff_max=0.1, presence_ratio_min=0.95)
JUDGING = {
    "window_s": (0.0, 0.25),
    "limits": LIMITS,
    "n_draws": 2,
    "seed": 0,
    "n_blocks": 4,
    "n_folds": 2,
    "shrinkage": 0.1,
    "running_cm_per_s": 1.0,
    "anchor_window_s": [0.0, 0.25],
}


def test_running_speed_is_that_of_each_presentation_and_may_be_unknown(shared: Path, tmp_path: Path) -> None:
    source = shared / "data/allen_layout_nwb_fixture/session_900000001.nwb"
    found = read_responses(source, areas=["VISp"], windows_s=np.array([[0.0, 0.25]]), min_units=1, limits=LIMITS)
    speed = session_quality.running_speed(source, found)
    samples = behaviour.read_running_speed(source)
    shown = read_presentations(source)
    during = (samples.start_s >= shown.start_s[3]) & (samples.start_s < shown.stop_s[3])
    assert speed[3] == pytest.approx(samples.cm_per_s[during].mean())
    path = tmp_path / "900000001.nwb"
    shutil.copy(source, path)
    with h5py.File(path, "r+") as file:
        del file["processing/running"]
    assert np.isnan(session_quality.running_speed(path, found)).all()
    session, rows = session_quality.judged(
        path,
        areas=["VISp", "LGd", "nowhere"],
        anchor_area="VISp",
        **JUDGING,
    )
    assert list(session["areas"]) == ["VISp", "LGd"]
    assert session["running"]["share"] is None
    assert session["areas"]["VISp"]["identity_running"] is None
    assert len(session["identity"]["anchor"]["folds"]) == 2
    assert {row["area"] for row in rows} == {"VISp", "LGd"}
    assert rows[0]["running_ratio"] is None


def test_activity_below_0_has_no_course_and_is_judged_all_the_same(tmp_path: Path) -> None:
    unknown = np.full(3, np.nan)
    Responses.make(
        counts=RNG.standard_normal((20, 3, 1)),
        image_id=np.repeat(np.arange(10), 2),
        presentation_id=np.arange(20)[:, None],
        session_id=np.array([1]),
        window_s=np.array([[0.05, 0.15]]),
        units=UnitTable(np.arange(3), np.full(3, 1), np.array(["V4"] * 3), *([unknown] * 5)),
    ).save(tmp_path / "1.npz")
    session, rows = session_quality.judged(tmp_path / "1.npz", areas=["V4"], anchor_area="V4", **JUDGING)
    assert [session["areas"]["V4"][name] for name in ("drift", "course", "running_ratio", "fano")] == [None] * 4
    assert session["areas"]["V4"]["reliability"] is not None
    assert rows[0]["drift"] is None
    session["filters"] = {"V4": {"recorded": 3, "in an area": 3}}
    judged = {"source": "a test", "sessions": {"1": session}}
    assert recording_plots.quality_rows(judged)[0]["drift_median"] == ""
    units = [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
    assert recording_plots.draw_quality(judged, units, "a test").startswith(b"\x89PNG")


def test_means_over_presentations_are_judged_by_what_they_tell(tmp_path: Path) -> None:
    n_units = 4
    unknown = np.full(n_units, np.nan)
    units = UnitTable(np.arange(n_units), np.full(n_units, 1), np.array(["V4"] * n_units), *([unknown] * 5))
    table = Responses.make(
        counts=RNG.gamma(2.0, 1.0, (20, n_units, 1)).astype(np.float32),
        image_id=np.arange(20),
        presentation_id=np.arange(20)[:, None],
        session_id=np.array([1]),
        window_s=np.array([[0.05, 0.15]]),
        units=units,
    )
    table.save(tmp_path / "1.npz")
    session, rows = session_quality.judged(
        tmp_path / "1.npz",
        areas=["V4"],
        anchor_area="V4",
        **JUDGING,
    )
    area = session["areas"]["V4"]
    nothing = ("rate_hz", "fano", "reliability", "reliable_share", "area_reliability", "identity", "running_ratio")
    assert [area[name] for name in nothing] == [None] * len(nothing)
    assert area["mean_response"]["p50"] > 0
    assert session["identity"]["anchor"] is None
    assert rows[0]["fano"] is None
    of = latency.rows(
        [tmp_path / "1.npz"],
        areas=["V4"],
        limits=LIMITS,
        start_s=0.0,
        stop_s=0.2,
        step_s=0.1,
        width_s=0.1,
        n_folds=2,
        shrinkage=0.1,
        n_resamples=10,
        seed=0,
    )
    assert of == []


def repeated(session_id: int, images: list[int], *, n_blanks: int) -> Responses:
    """Counts of four units that tell images apart, each shown six times."""
    shown = np.random.default_rng([session_id]).permutation(images * 6 + [BLANK] * n_blanks)
    units = UnitTable(np.arange(4), np.full(4, session_id), np.array(["V4"] * 4), *([np.full(4, np.nan)] * 5))
    return Responses.make(
        counts=(9 * np.stack([shown, shown**2, -shown, shown % 2], 1) % 50 + 20)[:, :, None].astype(np.uint16),
        image_id=shown,
        presentation_id=np.arange(len(shown))[:, None],
        session_id=np.array([session_id]),
        window_s=np.array([[0.05, 0.15]]),
        units=units,
    )


def latency_of(folder: Path, *session_ids: int) -> list[dict[str, object]]:
    sliding = {"start_s": 0.0, "stop_s": 0.2, "step_s": 0.1, "width_s": 0.1, "n_folds": 3, "shrinkage": 0.1}
    paths = [folder / f"{session_id}.npz" for session_id in session_ids]
    return latency.rows(paths, areas=["V4"], limits=LIMITS, **sliding, n_resamples=10, seed=0)


def test_a_blank_that_was_shown_once_hides_no_images(tmp_path: Path) -> None:
    for session_id, n_blanks in ((1, 6), (2, 1), (3, 0)):
        repeated(session_id, [1, 2, 3, 4], n_blanks=n_blanks).save(tmp_path / f"{session_id}.npz")
        (row,) = latency_of(tmp_path, session_id)
        assert row["n_units"] == 4
        assert row["chance"] == 1 / 4


def test_sessions_are_averaged_over_the_same_images_or_not_at_all(tmp_path: Path) -> None:
    repeated(1, [1, 2, 3, 4], n_blanks=6).save(tmp_path / "1.npz")
    repeated(2, [1, 2, 3, 4], n_blanks=0).save(tmp_path / "2.npz")
    (row,) = latency_of(tmp_path, 1, 2)
    assert (row["n_units"], row["n_sessions"]) == (8, 2)
    repeated(3, [1, 2, 3, 5], n_blanks=6).save(tmp_path / "3.npz")
    with pytest.raises(ValueError, match=r"3.npz shows other images than .*1.npz; leave one of them out"):
        latency_of(tmp_path, 1, 3)
