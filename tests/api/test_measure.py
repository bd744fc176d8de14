"""Responses in another unit of measure than those of the fit are refused, or warned of; honest ones never are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikevaediff
from spikevaediff import __main__
from spikevaediff.api import measure
from spikevaediff.recordings import preprocessing
from spikevaediff.records import BLANK, Responses
from spikevaediff.regression import fits, new_responses
from spikevaediff.regression.methods import ridge

N_IMAGES, N_UNITS = 30, 40
RATE = np.random.default_rng(0).lognormal(0.0, 1.0, (N_IMAGES, N_UNITS))  # expected counts
NOWHERE = Path("no such file")


def recording(
    counts: np.ndarray | None = None, *, images: Any = range(N_IMAGES), units: Any = range(N_UNITS), seed: int = 1
) -> Responses:
    """Five presentations of some images, and a blank."""
    image_id = np.append(np.repeat(list(images), 5), BLANK)
    found = np.random.default_rng(seed).poisson(RATE[image_id][:, list(units)]) if counts is None else counts
    return spikevaediff.make_responses(found, image_id, unit_id=np.array(list(units)), window_s=np.array([0.0, 0.25]))


def context(responses: Responses, transform: str = "none") -> dict[str, np.ndarray]:
    x = preprocessing.response_matrix(responses, transform=transform)
    return {"context_mean": x[responses.image_id != BLANK].mean(0), "context_transform": np.array(transform)}


COUNTS = recording().counts[:, :, 0]


@pytest.mark.parametrize(
    ("transform", "factor", "mean"),
    [("none", 4, "1.56; these have 6.23"), ("none", 0.1, "1.56; these have 0.156"), ("square_root", 10, "0.902 ")],
)
def test_rates_for_counts_are_warned_of(transform: str, factor: float, mean: str) -> None:
    said = measure.problem(context(recording(), transform), recording(COUNTS * factor), NOWHERE)
    assert said.startswith(f"the fit is of responses with a mean of {mean}")
    assert ("(of square roots); these have" in said) == (transform == "square_root")
    assert "another unit of measure, such as rates instead of counts?" in said


@pytest.mark.parametrize("transform", ["none", "square_root"])
def test_honest_responses_never_are(transform: str) -> None:
    known, weaker = context(recording(), transform), np.random.default_rng(4).binomial(COUNTS, 0.3)
    assert measure.problem(known, recording(weaker), NOWHERE) == ""
    assert measure.problem(known, recording(COUNTS * 2), NOWHERE) == ""
    strength = RATE.mean(1).argsort()
    for images in (strength[:5], strength[-5:], [int(strength[-1])]):
        assert measure.problem(known, recording(images=images, seed=2), NOWHERE) == ""
    # Nothing is said of units and images so few that they may all be silent, or driven.
    few_units = recording(units=range(19))
    assert measure.problem(context(few_units), recording(few_units.counts * 9, units=range(19)), NOWHERE) == ""
    four = recording(images=range(4))
    assert measure.problem(known, recording(four.counts * 9, images=range(4)), NOWHERE) == ""
    # Where few spikes are expected, chance decides.
    sparse = np.random.default_rng(5).binomial(COUNTS, 0.01)
    five = range(5)
    assert measure.problem(context(recording(sparse), transform), recording(images=five), NOWHERE) == ""
    # Means of z-scores are near 0: their ratio says nothing.
    centred = COUNTS - COUNTS.mean(0) - 0.01
    assert measure.problem(context(recording(centred)), recording(centred * 9), NOWHERE) == ""


def test_values_below_0_are_refused_where_the_run_has_none(tmp_path: Path) -> None:
    path = tmp_path / "visual.npz"
    recording(COUNTS / 2).save(path)  # mean counts are no whole numbers
    with pytest.raises(ValueError, match=r"fall to -0\.5, and the fit is of responses that are never below 0: are"):
        measure.problem(context(recording()), recording(COUNTS - 0.5), path)
    recording(COUNTS - 1.5).save(path)
    assert measure.problem(context(recording()), recording(COUNTS - 0.5), path) == ""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run as far as a regression; the fit answers with few targets, which no decoder takes."""
    responses, artifacts = recording(), tmp_path / "artifacts"
    responses.save(artifacts / "responses/visual.npz")
    x = preprocessing.mean_over_presentations(
        preprocessing.response_matrix(responses, transform="none"), responses.image_id, np.arange(N_IMAGES)
    )
    scale = preprocessing.scale_of(x)
    y = np.random.default_rng(3).normal(size=(N_IMAGES, 4)).astype(np.float32)
    options: Any = {"alphas": [10.0], "alpha_scope": "global", "folds": "image", "seed": 0, "group_size": [4]}
    fit = ridge.fit(preprocessing.standardise(x, scale), y, y_row=np.arange(N_IMAGES), **options)
    fit = new_responses.with_context(
        fit,
        scale=scale,
        transform="none",
        space="vdvae",
        group_name=np.array(["all"]),
        responses=responses,
        how="none",
        image_id=np.arange(1000, 1000 + N_IMAGES),
    )
    fit.save(artifacts / "fits/vdvae_all_images.npz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_warns_and_refuses(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", "artifacts/fits/vdvae_all_images.npz", "new.npz", "out.npz"]
    recording(COUNTS / 0.25).save("new.npz")
    assert __main__.main(words) == 0
    assert capsys.readouterr().err.startswith("warning: the fit is of responses with a mean of ")
    recording().save("new.npz")
    assert __main__.main(words) == 0
    assert capsys.readouterr().err == ""
    Path("out.npz").unlink()
    recording(COUNTS - 0.5).save("new.npz")
    assert __main__.main(words) == 1
    assert "the responses fall to -0.5" in capsys.readouterr().err
    assert not Path("out.npz").exists()


def test_reconstruct_warns_and_refuses(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikevaediff.api.apply.decode_latents", lambda latents, run: latents)
    monkeypatch.setattr("spikevaediff.api.apply.named_images", lambda images: images)
    run = spikevaediff.Run(project)
    with pytest.warns(UserWarning, match=r"the fit is of responses with a mean of .*rates instead of counts"):
        spikevaediff.reconstruct(recording(COUNTS / 0.25), run, by="vdvae")
    with pytest.raises(ValueError, match=r"the responses fall to -0\.5"):
        spikevaediff.reconstruct(recording(COUNTS - 0.5), run, by="vdvae")
    spikevaediff.reconstruct(recording(), run, by="vdvae")
    assert fits.load(run.artifacts / "fits/vdvae_all_images.npz").method == "ridge"
