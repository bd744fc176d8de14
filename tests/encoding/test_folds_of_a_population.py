"""Encoding models of all folds, from the files of one stage to what the next ones make of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_vdvae
from conftest import close
from test_encoding import no_weights, photographs, tuned

from spikevaediff.encoding import (
    encoder,
    fit_folds,
    identified,
    left_out,
    luminance,
    of_folds,
    posterior,
    posterior_folds,
)
from spikevaediff.encoding.fewer_presentations import models_of
from spikevaediff.encoding.photographs import Photographs
from spikevaediff.records import Features, ImageSplit, LibraryResponses, Responses, Stimuli, UnitTable
from spikevaediff.regression.parts import parts
from vdvae import weights
from vdvae.config import CONFIGS

N, N_LAYERS = 30, 2
IDS = np.arange(N) + 7
SPLIT = ImageSplit(IDS, np.where(np.arange(N) % 10 == 9, -1, np.arange(N) % 3))
STIMULI = Stimuli("a test", IDS[::-1].copy(), photographs(N)[::-1].copy())
LIBRARY = Stimuli("a test", np.arange(12) + 1000, photographs(12, seed=5))


@pytest.fixture(scope="module")
def responses() -> Responses:
    """Two presentations of each image, in another order than that of the ids."""
    rng, order = np.random.default_rng(4), np.random.default_rng(5).permutation(np.repeat(np.arange(N), 2))
    counts = tuned(photographs(N))[order] + 0.2 * rng.standard_normal((2 * N, 6))
    return Responses.make(
        counts=counts[:, :, None],
        image_id=IDS[order],
        presentation_id=np.arange(2 * N)[:, None],
        session_id=np.array([1]),
        window_s=np.array([[0.0, 0.25]]),
        units=UnitTable(np.arange(6), np.ones(6, np.int64), np.full(6, "VISp"), *[np.full(6, np.nan)] * 5),
    )


@pytest.fixture(scope="module")
def models(responses: Responses, tmp_path_factory: pytest.TempPathFactory) -> list[encoder.Encoder]:
    folder = tmp_path_factory.mktemp("encoders") / "visual"
    last = fit_folds.fit(folder, responses, STIMULI, SPLIT, no_weights, families=["luminance"])
    assert fit_folds.report_line(last).startswith("encoding models of 6 columns (")
    found = of_folds.load(folder, SPLIT.n_folds)
    np.testing.assert_array_equal(found[-1].weight, last.weight)
    return found


def test_the_model_of_a_fold_is_fitted_to_its_training_images_alone(
    models: list[encoder.Encoder], responses: Responses
) -> None:
    assert [len(model.image_id) for model in models] == [21, 21, 21, N]
    for fold, model in enumerate(models[:-1]):
        train = SPLIT.fold != fold
        np.testing.assert_array_equal(model.image_id, IDS[train])
        mean = np.stack([responses.counts[responses.image_id == i, :, 0].mean(0) for i in IDS[train]])
        maps = encoder.maps_of(photographs(N)[train], ["luminance"], no_weights)
        units = {"unit_id": np.arange(6), "session_id": np.ones(6, np.int64), "area": np.full(6, "VISp")}
        expected = encoder.fit(maps, mean, families=["luminance"], image_id=IDS[train], units=units)
        close(model.weight, expected.weight, 1e-5)
        close(model.left_out, expected.left_out, 1e-6)


def test_models_without_some_training_images_answer_the_library(responses: Responses) -> None:
    learn = fit_folds.learner(responses, STIMULI, SPLIT, no_weights, families=["luminance"])
    found = left_out.answers(learn, SPLIT, LIBRARY, no_weights, seed=3)
    sets = [SPLIT.fold != fold for fold in range(SPLIT.n_folds)] + [np.ones(N, bool)]
    assert found.values.shape == (5 * len(sets), len(LIBRARY.image_id), 6)
    np.testing.assert_array_equal(found.image_id, LIBRARY.image_id)
    second = learn(sets[1] & ~parts(sets[1])[2])  # the third part of the second fold
    expected = encoder.predict(second, LIBRARY.pixels, no_weights)
    expected += of_folds.noise(second, LIBRARY.image_id, seed=3, number=len(sets) + 5 + 2)
    close(found.values[5 + 2], expected.astype(np.float32), 1e-5)
    assert not left_out.none().values.size


def test_a_population_is_identified_by_the_models_that_have_not_seen_the_image(
    models: list[encoder.Encoder], responses: Responses
) -> None:
    options = {"short": None, "units": [2], "presentations": [1], "n_draws": 2, "seed": 0}
    found = identified.of_population("made", responses, models, STIMULI, LIBRARY, SPLIT, no_weights, **options)
    assert list(found.sets) == ["fold", "all", "library"]
    assert found.sets["all"]["chance"] == pytest.approx(1 / N)
    points = [("units", 2), ("units", 6), ("presentations", 1), ("presentations", 2)]
    assert [(row["of"], row["n"]) for row in found.curves] == points
    # All units and all presentations are one number, whichever curve it ends.
    assert found.curves[1]["top1"] == found.curves[3]["top1"] == found.sets["all"]["top1"]
    assert [row["unit_id"] for row in found.units] == list(range(6))
    assert {row["population"] for row in found.units} == {"made"}
    assert identified.report_line(found.sets).startswith("identified among fold ")


def test_samples_are_those_of_each_fold_in_the_order_of_the_tested_images_and_finished_folds_are_kept(
    models: list[encoder.Encoder], responses: Responses, tmp_path: Path
) -> None:
    rng = np.random.default_rng(6)
    options = {"n_samples": 2, "steps": 1, "step_size": 0.1, "temperature": 1.0, "seed": 0}
    compute: dict[str, Any] = {"batch_size": "auto", "device": "cpu"}
    simulated = LibraryResponses(LIBRARY.image_id[::-1].copy(), rng.standard_normal((4, 12, 6)).astype(np.float32))
    with tiny_vdvae.checkpoint(tmp_path, 1) as path:
        model = weights.load(path, CONFIGS["tiny"])
        latents = model.flatten(model.encode(photographs(12, seed=5, size=16)[..., None], N_LAYERS))
        features = Features("vdvae", LIBRARY.image_id, latents, np.array(["all"]), np.array([latents.shape[1]]))

        def samples(responses: Responses = responses, **changes: Any) -> np.ndarray:
            return posterior_folds.samples(
                models,
                responses,
                SPLIT,
                (simulated, features),
                config="tiny",
                weights=path,
                n_layers=N_LAYERS,
                weights_of=no_weights,
                compute=compute,
                **{"options": options, "kept": tmp_path / "kept"} | changes,
            )

        found = samples()
        fold, ids = 1, SPLIT.ids(1)[1]
        mean = np.stack([responses.counts[responses.image_id == i, :, 0].mean(0) for i in ids])
        gain = posterior.gain(model.whiten(latents, N_LAYERS), simulated.values[fold][::-1], models[fold].covariance)
        given: dict[str, Any] = {"encoder": models[fold], "gain": gain, "model": model, "n_layers": N_LAYERS}
        expected = posterior.samples(mean, ids, **given, weights_of=no_weights, **options, **compute)
        close(found[np.isin(SPLIT.test_ids, ids)], expected, 1e-4)

        # An image that was presented once has more noise than its model knows, the others as much as before.
        shown_once = responses.image_id == ids[0]
        kept = ~shown_once | (np.cumsum(shown_once) == 1)
        cut = {name: getattr(responses, name)[kept] for name in ("counts", "image_id", "presentation_id")}
        once = replace(responses, **cut)
        again = samples(once, kept=tmp_path / "once")[np.isin(SPLIT.test_ids, ids)]
        close(again[1:], expected[1:], 1e-4)
        *_, noisier = models_of(models, np.array([fold]), once, once, ids[:1])[0]
        assert noisier.image_id is models[fold].image_id
        more = posterior.gain(model.whiten(latents, N_LAYERS), simulated.values[fold][::-1], noisier.covariance)
        response = responses.counts[shown_once, :, 0][:1].astype(np.float64)
        of_one = given | {"encoder": noisier, "gain": more}
        alone = posterior.samples(response, ids[:1], **of_one, weights_of=no_weights, **options, **compute)
        as_before = posterior.samples(response, ids[:1], **given, weights_of=no_weights, **options, **compute)
        assert np.abs(again[:1] - alone).max() < 0.05 * np.abs(again[:1] - as_before).max()

        # Around photographs: those of the library and the training images, each predicted without itself.
        shown = model.flatten(model.encode(photographs(N, size=16)[..., None], N_LAYERS))
        of_shown = Features("vdvae", IDS, shown, np.array(["all"]), np.array([shown.shape[1]]))
        trained = np.isin(IDS, models[fold].image_id)
        answers = encoder.predict(models[fold], LIBRARY.pixels, no_weights)
        known = Photographs(
            np.concatenate([answers, models[fold].left_out]).astype(np.float32),
            np.concatenate([model.whiten(latents, N_LAYERS), model.whiten(shown[trained], N_LAYERS)]),
        )
        expected = posterior.samples(mean, ids, **given, photographs=known, weights_of=no_weights, **options, **compute)
        close(samples(around=(LIBRARY, of_shown))[np.isin(SPLIT.test_ids, ids)], expected, 1e-4)

        # Luminance is expected by the training images of the fold, and only where it counts.
        learnt = np.stack([responses.counts[responses.image_id == i, :, 0].mean(0) for i in SPLIT.ids(fold)[0]])
        light = luminance.expected(learnt, STIMULI.rows(SPLIT.ids(fold)[0]), mean)
        weighed = options | {"luminance_weight": 0.5}
        expected = posterior.samples(mean, ids, **given, luminance=light, weights_of=no_weights, **weighed, **compute)
        lit = samples(shown=STIMULI, options=weighed)
        close(lit[np.isin(SPLIT.test_ids, ids)], expected, 1e-4)
        assert np.abs(lit - found).max() > 1e-3
        np.testing.assert_array_equal(samples(shown=STIMULI), found)

        kept = sorted((tmp_path / "kept").iterdir())
        assert len(kept) == 9
        for file in kept:
            with np.load(file) as array:
                np.savez(file, samples=np.zeros_like(array["samples"]))
        assert not samples().any()
        code = tmp_path / "code"
        code.write_text("a  one.py")
        assert samples(code=code).any()  # made again, since nothing says which code finished those
        assert not samples(code=tmp_path / "nothing").any()
        options["seed"] = 1  # decides other samples, which are not the kept ones
        assert samples().any()


def test_models_of_other_units_are_refused(models: list[encoder.Encoder], responses: Responses) -> None:
    other = [replace(models[0], family_name=np.array(["gabor"])), *models[1:]]
    options = {"short": None, "units": [2], "presentations": [1], "n_draws": 2, "seed": 0}
    with pytest.raises(ValueError, match="the encoding models are of different families or columns"):
        identified.of_population("made", responses, other, STIMULI, LIBRARY, SPLIT, no_weights, **options)
