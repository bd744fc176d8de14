"""From a saved fit and another recording to features, in the library and on the command line."""

import dataclasses

import numpy as np
import pytest

from spikevaediff import __main__
from spikevaediff.recordings import preprocessing
from spikevaediff.records import BLANK, Features, Responses, UnitTable
from spikevaediff.regression import fits, new_responses
from spikevaediff.regression.methods import ridge


def recording(seed):
    rng = np.random.default_rng(seed)
    image_id = np.append(rng.permutation(np.repeat(np.arange(8), 4)), [BLANK, BLANK])
    number = np.zeros(5)
    units = UnitTable(np.arange(5) + 100, np.ones(5, np.int64), np.array(["VISp"] * 5), *([number] * 5))
    return Responses.make(
        counts=rng.poisson(image_id[:, None, None] + 3.0, (34, 5, 1)).astype(np.uint16),
        image_id=image_id,
        presentation_id=np.arange(34)[:, None],
        session_id=np.array([1]),
        window_s=np.array([[0.0, 0.25]]),
        units=units,
    )


def context(fit, responses, scale, how="none", image_id=range(8)):
    return new_responses.with_context(
        fit,
        scale=scale,
        transform="square_root",
        space="vdvae",
        group_name=np.array(["coarse", "fine"]),
        responses=responses,
        how=how,
        image_id=np.array(image_id),
    )


@pytest.fixture
def fitted():
    responses, rng = recording(0), np.random.default_rng(1)
    # The rate rises with image_id, and half of every target with it.
    y = (rng.standard_normal((8, 12)) + np.outer(np.linspace(-2, 2, 8), rng.choice([-1, 1], 12))).astype(np.float32)
    x = preprocessing.response_matrix(responses, transform="square_root")
    x = preprocessing.mean_over_presentations(x, responses.image_id, np.arange(8))
    scale = preprocessing.scale_of(x)
    options = {"alphas": [1.0, 10.0], "alpha_scope": "global", "folds": "image", "seed": 0, "group_size": [4, 8]}
    fit = ridge.fit(preprocessing.standardise(x, scale), y, y_row=np.arange(8), **options)
    return responses, fit, scale


def test_a_saved_fit_predicts_features_of_a_new_recording_from_the_command_line(fitted, tmp_path, capsys):
    responses, fit, scale = fitted
    context(fit, responses, scale).save(tmp_path / "fit.npz")
    other = recording(5)
    other.save(tmp_path / "other.npz")
    paths = [str(tmp_path / name) for name in ("fit.npz", "other.npz", "predicted.npz")]
    assert __main__.main(["predict", *paths]) == 0
    assert "12 dims of vdvae for 8 images" in capsys.readouterr().out
    features = Features.load(tmp_path / "predicted.npz")
    x = preprocessing.response_matrix(other, transform="square_root")
    x = np.array([x[other.image_id == i].mean(0) for i in range(8)])
    np.testing.assert_array_equal(features.image_id, np.arange(8))
    np.testing.assert_array_equal(features.group_name, ["coarse", "fine"])
    expected = ridge.predict(fit, (x - scale.mean) / scale.deviation)
    np.testing.assert_allclose(features.values, expected, rtol=1e-5, atol=1e-6)


def test_predictions_have_the_spread_that_left_out_images_lack(fitted, tmp_path):
    """Against ridge regression spelled out: every training image left out once, one factor per group of targets."""
    responses, fit, scale = fitted
    context(fit, responses, scale, how="train").save(tmp_path / "fit.npz")
    other = recording(5)
    found = new_responses.predict_features(fits.load(tmp_path / "fit.npz"), other)

    def means(of):
        x = np.sqrt(of.counts[:, :, 0].astype(np.float64))
        return (np.array([x[of.image_id == i].mean(0) for i in range(8)]) - scale.mean) / scale.deviation

    def prediction(x, y, alpha, new):
        centred = x - x.mean(0)
        weights = np.linalg.solve(centred.T @ centred + alpha * np.eye(x.shape[1]), centred.T @ (y - y.mean(0)))
        return (new - x.mean(0)) @ weights

    x, y = means(responses), fit.y.astype(np.float64)
    alpha = fit.alphas[fit.candidate[0] % len(fit.alphas)]
    kept = [np.delete(np.arange(8), i) for i in range(8)]
    deviation = np.array([prediction(x[k], y[k], alpha, x[i]) for i, k in enumerate(kept)])
    expected = prediction(x, y, alpha, means(other))
    for dims in (slice(0, 4), slice(4, 12)):
        factor = np.sqrt(np.sum((y - y.mean(0))[:, dims] ** 2) / np.sum(deviation[:, dims] ** 2))
        assert factor > 1.05  # ridge shrinks, or there is nothing to see here
        np.testing.assert_allclose(
            found.values[:, dims], y.mean(0)[dims] + factor * expected[:, dims], rtol=1e-4, atol=1e-5
        )


def test_images_that_trained_the_fit_are_counted(fitted, tmp_path):
    responses, fit, scale = fitted
    context(fit, responses, scale, how="train", image_id=[0, 1, 2, 20, 21, 22, 23, 24]).save(tmp_path / "fit.npz")
    responses.save(tmp_path / "responses.npz")
    said = new_responses.predict_file(*(tmp_path / name for name in ("fit.npz", "responses.npz", "out.npz")))
    assert said.endswith(
        "for 8 images, renormalise train; 3 of them trained the fit and look better than they are: "
        "score only the others"
    )
    context(fit, responses, scale, image_id=range(20, 28)).save(tmp_path / "fit.npz")
    said = new_responses.predict_file(*(tmp_path / name for name in ("fit.npz", "responses.npz", "out.npz")))
    assert said.endswith("for 8 images, renormalise none")


def test_a_fit_of_an_earlier_version_and_blanks_alone_are_refused(fitted):
    responses, fit, scale = fitted
    saved = context(fit, responses, scale)
    without = {name: value for name, value in saved.parameters.items() if name != "context_renormalise"}
    with pytest.raises(ValueError, match="does not say how predictions were renormalised"):
        new_responses.predict_features(dataclasses.replace(saved, parameters=without), responses)
    blank = dataclasses.replace(responses, image_id=np.full_like(responses.image_id, BLANK))
    with pytest.raises(ValueError, match=r"the responses are to blanks alone \(image_id -1\)"):
        new_responses.predict_features(saved, blank)


def test_the_command_line_says_what_is_wrong(tmp_path, capsys):
    paths = [str(tmp_path / name) for name in ("fit.npz", "other.npz", "predicted.npz")]
    assert __main__.main(["predict", *paths]) == 1
    assert "fit.npz does not exist" in capsys.readouterr().err


def test_what_cannot_be_decoded_is_refused_before_anything_is_written(fitted, tmp_path, monkeypatch, capsys):
    responses, fit, scale = fitted
    vision = context(fit, responses, scale)
    vision.parameters["context_space"] = np.array("vision")
    vision.save(tmp_path / "vision.npz")
    recording(5).save(tmp_path / "other.npz")
    (tmp_path / "damaged.npz").write_bytes(b"PK")
    monkeypatch.chdir(tmp_path)
    words = ["other.npz", "latents.npz", "--decode", "decoded"]
    assert __main__.main(["predict", "vision.npz", *words]) == 1
    assert "has no params.yaml. Run this at the top of a checkout" in capsys.readouterr().err
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    for name, says in (
        ("vision", "vision.npz predicts the feature space vision, and only latents of vdvae are decoded"),
        ("absent", "absent.npz does not exist"),
        ("damaged", "damaged.npz is no fit, or damaged"),
    ):
        assert __main__.main(["predict", f"{name}.npz", *words]) == 1
        assert says in capsys.readouterr().err
    assert not (tmp_path / "latents.npz").exists()
    assert not (tmp_path / "decoded").exists()


def test_a_table_of_the_plain_format_and_a_folder_are_told_from_responses(fitted, tmp_path, capsys):
    responses, fit, scale = fitted
    context(fit, responses, scale).save(tmp_path / "fit.npz")
    np.savez(tmp_path / "1.npz", responses=np.ones((2, 5)), image_id=np.arange(2), unit_id=np.arange(5))
    for fit_name, name, says in (
        (
            "fit.npz",
            "1.npz",
            r"1.npz is a table of responses. make_responses(values, image_id, like=...).save(...) tur",
        ),
        ("fit.npz", ".", f"{tmp_path} is a folder, expected a file"),
        (".", "1.npz", f"{tmp_path} is a folder, expected a file"),
    ):
        assert __main__.main(["predict", *(str(tmp_path / one) for one in (fit_name, name, "out.npz"))]) == 1
        assert says in capsys.readouterr().err
    assert not (tmp_path / "out.npz").exists()


def test_a_fit_without_context_or_of_other_units_is_refused(fitted):
    responses, fit, scale = fitted
    with pytest.raises(ValueError, match="does not say how responses were standardised"):
        new_responses.predict_features(fit, responses)
    other = dataclasses.replace(responses, unit_unit_id=responses.unit_unit_id + 2)
    with pytest.raises(ValueError, match=r"2 missing \['100', '101'\], 2 unknown \['105', '106'\]"):
        new_responses.predict_features(context(fit, responses, scale), other)


def test_units_of_a_pseudo_population_are_told_apart_by_session(fitted):
    """Sessions that count their units from 0 each: the same ids in another order are other units."""
    responses, fit, scale = fitted
    unit_id, session_id = np.array([0, 1, 0, 1, 2]), np.array([7, 7, 8, 8, 8])

    def of_two(session_id):
        return dataclasses.replace(
            responses,
            session_id=np.array([7, 8]),
            presentation_id=np.repeat(responses.presentation_id, 2, axis=1),
            unit_unit_id=unit_id,
            unit_session_id=session_id,
        )

    saved = context(fit, of_two(session_id), scale)
    assert len(new_responses.predict_features(saved, of_two(session_id)).values) == 8
    with pytest.raises(ValueError, match=r"1 missing \['8/2'\], 1 unknown \['7/2'\]"):
        new_responses.predict_features(saved, of_two(15 - session_id))


def test_one_session_may_have_another_id(fitted):
    responses, fit, scale = fitted
    later = dataclasses.replace(responses, session_id=np.array([2]), unit_session_id=np.full(5, 2))
    assert len(new_responses.predict_features(context(fit, responses, scale), later).values) == 8


def test_responses_counted_in_another_window_are_refused(fitted):
    responses, fit, scale = fitted
    later = dataclasses.replace(responses, window_s=responses.window_s + 0.05)
    with pytest.raises(
        ValueError, match=r"in the windows \[\[0.05, 0.3\]\], the fit is of counts in \[\[0.0, 0.25\]\]"
    ):
        new_responses.predict_features(context(fit, responses, scale), later)


def test_context_survives_the_file(fitted, tmp_path):
    responses, fit, scale = fitted
    context(fit, responses, scale).save(tmp_path / "fit.npz")
    features = new_responses.predict_features(fits.load(tmp_path / "fit.npz"), responses)
    assert features.space == "vdvae"
