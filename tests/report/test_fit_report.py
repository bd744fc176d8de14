"""Tables and pictures of what the regressions learned, from arrays as stages/regress.py stacks them."""

import csv
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_banded import bands_and_targets
from test_banded import run as run_banded
from test_kernel_ridge import run as run_kernel
from test_ridge import make
from test_ridge import run as run_ridge

from spikevaediff.records import Features
from spikevaediff.report import results
from spikevaediff.report.figures import fit_plots

GROUPS = ["00 (1x1)", "01 (4x4)", "02 (4x4)"]
SIZES = [8, 8, 8]


def stacked(*fits: Any) -> dict[str, np.ndarray]:
    summaries = [fit.summary() for fit in fits]
    return {name: np.stack([s[name] for s in summaries]) for name in summaries[0]}


@pytest.fixture(scope="module")
def ridge_folds():
    fits = []
    for fold in range(2):
        x, y, y_row = make(12, 6, 24, seed=fold)
        y[:, 16:] = 1.0  # a group of constant targets
        fits.append(run_ridge(x, y, y_row, group_size=SIZES))
    return fits


@pytest.fixture(scope="module")
def banded_fit():
    x, y, bands = bands_and_targets()
    return run_banded(x, y, bands, max_steps=5)


def test_rows_are_means_and_percentiles_over_folds_and_targets(ridge_folds):
    rows = fit_plots.left_out_rows("vdvae", GROUPS, stacked(*ridge_folds))
    # The third group is constant: nothing to score.
    assert [(row["place"], row["group"]) for row in rows] == list(enumerate(GROUPS[:2]))
    r2 = np.concatenate([fit.loo_r2[8:16] for fit in ridge_folds])
    np.testing.assert_allclose(rows[1]["r2"], r2.mean())
    np.testing.assert_allclose([rows[1]["r2_p10"], rows[1]["r2_p90"]], np.percentile(r2, [10, 90]))
    correlation = np.concatenate([fit.loo_correlation[:8] for fit in ridge_folds])
    np.testing.assert_allclose(rows[0]["correlation"], correlation.mean())
    dof = np.concatenate([fit.dof[fit.candidate[:8]] for fit in ridge_folds])
    np.testing.assert_allclose(rows[0]["dof"], dof.mean(), rtol=1e-6)
    assert 1 < rows[0]["dof"] < 7


def test_a_space_that_is_the_same_for_every_image_has_no_left_out_scores(
    ridge_folds: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("features", "fits"):
        (tmp_path / "artifacts" / folder).mkdir(parents=True)
    same = np.ones((12, 24), np.float32)
    for space, values in {"vdvae": same * np.arange(12, dtype=np.float32)[:, None], "text": same}.items():
        Features(space, np.arange(12), values, np.array(GROUPS), np.array(SIZES)).save(
            f"artifacts/features/{space}.npz"
        )
        fits = stacked(*ridge_folds)
        if space == "text":  # what rounding makes of them
            fits |= {"loo_r2": np.ones_like(fits["loo_r2"]), "loo_correlation": np.full_like(fits["loo_r2"], np.inf)}
        np.savez(f"artifacts/fits/{space}.npz", allow_pickle=False, **fits)
    wanted = SimpleNamespace(spaces=["vdvae", "text"], of_space=lambda space: (space,))
    files = results.of_regressions(wanted, "a test")  # type: ignore[arg-type]
    rows = list(csv.DictReader(io.StringIO(str(files["plots/left_out.csv"]))))
    assert {row["run"] for row in rows} == {"vdvae"}
    assert all(np.isfinite(float(row["correlation"])) for row in rows)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_pictures_are_drawn_for_a_grid_a_search_bands_and_none(ridge_folds, banded_fit):
    ridge, banded = stacked(*ridge_folds), stacked(banded_fit, banded_fit)
    x, y, y_row = make(12, 6, 24)
    kernel = stacked(run_kernel(x, y, y_row, group_size=SIZES))
    pictures = [fit_plots.draw_search(GROUPS, fits, "a test") for fits in (ridge, kernel, banded)]
    pictures += [fit_plots.draw_bands(GROUPS, fits, "a test") for fits in (ridge, banded)]
    rows = {"visual": fit_plots.left_out_rows("visual", GROUPS, ridge)}
    pictures.append(fit_plots.draw_left_out({"one": rows, "two": rows | {"b": rows["visual"]}}, "a test"))
    assert len(set(pictures)) == len(pictures)
    for png in pictures:
        picture = pixels(png)
        assert picture.min() < 100
        edge = np.concatenate([picture[:2].reshape(-1), picture[-2:].reshape(-1), picture[:, :2].reshape(-1)])
        assert (edge == 255).all()
    assert fit_plots.draw_bands(GROUPS, banded, "a test") == pictures[4]


@pytest.mark.parametrize("n_spaces", [1, 2, 3])
def test_title_and_note_are_as_narrow_as_the_picture(ridge_folds, n_spaces):
    rows = {"vdvae": fit_plots.left_out_rows("vdvae", GROUPS, stacked(*ridge_folds))}
    title = "Left-out training images: macaque F, multi-unit activity, THINGS, 22,248 photographs of THINGS"
    figure = fit_plots.draw_left_out.figure({f"space {n}": rows for n in range(n_spaces)}, title)
    figure.draw_without_rendering()
    width = figure.bbox.width
    for text in (figure._suptitle, figure._supxlabel):
        extent = text.get_window_extent()
        assert 0 <= extent.x0 < extent.x1 <= width, f"{text.get_text()!r} of {extent.width:.0f} of {width:.0f} pixels"


def test_weights_shared_by_all_groups_are_drawn(banded_fit):
    fits = stacked(banded_fit)
    shared = fits | {"band_weight": fits["band_weight"][:, :1], "convergence": fits["convergence"][:, :1]}
    for draw in (fit_plots.draw_bands, fit_plots.draw_search):
        assert pixels(draw(GROUPS, shared, "a test")).min() < 100


def test_shares_of_penalties_add_up_to_one() -> None:
    alphas = np.array([1.0, 10.0, 100.0])
    alpha = np.array([[1.0, 1.0, 100.0], [10.0, 1.0, 100.0]])
    alphas = np.stack([alphas, alphas])
    shares = fit_plots.alpha_shares(alpha, alphas)
    assert shares.tolist() == [3 / 6, 1 / 6, 2 / 6]
    # Folds that search for their penalties have a grid each: shares are by rank.
    factor = np.array([[1.0], [40.0]])
    assert fit_plots.alpha_shares(alpha * factor, alphas * factor).tolist() == shares.tolist()
    # Penalties pass through a float32 on their way.
    np.testing.assert_array_equal(fit_plots.alpha_shares((alpha * (1 + 1e-7)).astype(np.float32), alphas), shares)


def test_a_search_is_averaged_and_its_last_loss_carried_on() -> None:
    record = np.full((2, 1, 4, 2), np.nan)
    record[0, 0, :2, 0], record[1, 0, :, 0] = [1.0, 0.6], [0.8, 0.6, 0.4, 0.2]
    rows = fit_plots.search_rows(record, np.zeros((2, 1, 3)))
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    np.testing.assert_allclose([row["loss"] for row in rows], [0.9, 0.6, 0.5, 0.4])


def test_without_a_search_the_best_of_the_grid_is_reported() -> None:
    group_r2 = np.array([[[0.1, 0.3], [0.5, 0.2]]])
    assert fit_plots.search_rows(np.zeros((1, 0, 0, 2)), group_r2) == [{"step": 0, "loss": pytest.approx(0.6)}]


def test_band_weights_are_averaged_over_folds_and_shared_where_the_fit_shares_them() -> None:
    fits = {"band_name": np.array([["LP", "VISp"]] * 2), "band_weight": np.array([[[0.2, 0.8]], [[0.4, 0.6]]])}
    rows = fit_plots.band_rows(["00", "01"], fits)
    assert [(row["layer"], row["band"]) for row in rows] == [("00", "LP"), ("00", "VISp"), ("01", "LP"), ("01", "VISp")]
    np.testing.assert_allclose([row["weight"] for row in rows], [0.3, 0.7, 0.3, 0.7])
    assert fit_plots.band_rows(["00"], {}) == [{"layer": "00", "band": "all units", "weight": 1.0}]
