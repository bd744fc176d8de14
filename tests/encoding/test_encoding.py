"""Encoding models: left-out errors against refits, the model that is kept against its formula, units whose tuning is
known, units without any, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import close

from spikevaediff.encoding import encoder, noise, of_folds, readout, windows
from spikevaediff.encoding.families import alexnet, gabor
from spikevaediff.networks.small import IMAGENET_MEAN, IMAGENET_STD

NAMES = ["luminance", "gabor"]
UNITS = {"unit_id": np.arange(6), "session_id": np.zeros(6, np.int64), "area": np.array(["VISp"] * 6)}


def no_weights(name: str) -> Path:
    raise AssertionError(f"{name} was asked for by a family that needs none")


def photographs(n: int, seed: int = 0, size: int = 64) -> np.ndarray:
    """Fields with the spectrum of photographs, uint8 (n, size, size)."""
    rng = np.random.default_rng(seed)
    waves = np.fft.fftfreq(size)
    radius = np.hypot(waves[:, None], waves[None])
    radius[0, 0] = 1
    fields = np.fft.ifft2(np.fft.fft2(rng.standard_normal((n, size, size))) / radius).real
    fields = (fields - fields.mean((1, 2), keepdims=True)) / fields.std((1, 2), keepdims=True)
    return np.clip(127 + 50 * fields, 0, 255).astype(np.uint8)


def gabor_energy(pixels: np.ndarray, row: float, column: float, sigma: float, angle: float) -> np.ndarray:
    """Contrast energy of a Gabor at a place (image widths), written without the project's code."""
    light = pixels / 127.5 - 1
    n = pixels.shape[1]
    y, x = ((np.arange(n) + 0.5) / n - centre for centre in (row, column))
    envelope = np.exp(-(y[:, None] ** 2 + x[None] ** 2) / (2 * sigma**2))
    wave = 2 * np.pi * 0.35 / sigma * (np.cos(angle) * x[None] + np.sin(angle) * y[:, None])
    field = envelope * np.exp(1j * wave)
    field -= envelope * field.sum() / envelope.sum()
    return np.abs((light * field).sum((1, 2)) / envelope.sum())


def tuned(pixels: np.ndarray, n_units: int = 6, seed: int = 1) -> np.ndarray:
    """Responses of units with Gabors at random places and some noise, float64 (n, n_units)."""
    rng = np.random.default_rng(seed)
    energy = np.stack(
        [
            gabor_energy(pixels, *rng.uniform(0.25, 0.75, 2), sigma=0.09, angle=rng.uniform(0, np.pi))
            for _ in range(n_units)
        ],
        axis=1,
    )
    return 3 + 20 * energy + 0.3 * rng.standard_normal(energy.shape)


def fitted(pixels: np.ndarray, x: np.ndarray, names: list[str] = NAMES) -> encoder.Encoder:
    maps = encoder.maps_of(pixels, names, no_weights)
    return encoder.fit(maps, x, families=names, image_id=np.arange(len(x)), units=UNITS)


def ridge_error(z: np.ndarray, y: np.ndarray, alpha: float, out: list[int], image: int) -> float:
    """Error of one image by ridge fitted without the images `out`."""
    rest = np.setdiff1d(np.arange(len(y)), out)
    mean_z, mean_y = z[rest].mean(0), y[rest].mean()
    a = z[rest] - mean_z
    weights = np.linalg.solve(a.T @ a + alpha * np.eye(z.shape[1]), a.T @ (y[rest] - mean_y))
    return float(y[image] - mean_y - (z[image] - mean_z) @ weights)


def test_the_left_out_prediction_takes_the_window_that_predicts_the_others_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Leave-one-out and leave-two-out against explicit refits, with one penalty and one window."""
    monkeypatch.setattr(readout, "PENALTIES", (0.1,))
    monkeypatch.setattr(readout, "N_BEST", (1,))
    rng = np.random.default_rng(3)
    n = 12
    layer = torch.from_numpy(rng.standard_normal((n, 3, 5, 5)).astype(np.float32))
    offered = ((0.2, 2), (0.5, 1))
    grid = windows.grid(offered)
    pooled = np.einsum("wp,ncp->wnc", windows.weights(grid, 5, 5), layer.flatten(2).numpy().astype(np.float64))
    y = np.stack([pooled[k] @ rng.standard_normal(3) + 0.05 * rng.standard_normal(n) for k in (0, 2, 4)], 1)
    found = readout.fit([[layer]], [[offered]], y)
    assert (found.family == 0).all()
    scaled, alphas = [], []
    for z in pooled:
        z = z / (z.std(0) + z.std(0).mean())
        scaled.append(z)
        a = z - z.mean(0)
        alphas.append(0.1 * np.sum(a**2) / (n - 1))
    for unit in range(y.shape[1]):
        alone = np.array(
            [[ridge_error(z, y[:, unit], a, [i], i) for i in range(n)] for z, a in zip(scaled, alphas, strict=True)]
        )
        expected = np.empty(n)
        for i in range(n):
            others = [
                sum(ridge_error(z, y[:, unit], a, [i, j], j) ** 2 for j in range(n) if j != i)
                for z, a in zip(scaled, alphas, strict=True)
            ]
            expected[i] = y[i, unit] - alone[int(np.argmin(others)), i]
        close(found.left_out[:, unit], expected, 1e-4)
        total = ((y[:, unit] - y[:, unit].mean()) ** 2).sum()
        close(found.r2[unit], np.array(1 - ((y[:, unit] - expected) ** 2).sum() / total), 1e-4)
        # The readout that is kept: the window of least summed squares, fitted to all images.
        best = int(np.argmin((alone**2).sum(1)))
        row = int(np.flatnonzero(found.row_unit == unit)[0])
        np.testing.assert_array_equal(found.row_window[row], grid[best])
        a = scaled[best] - scaled[best].mean(0)
        weights = np.linalg.solve(a.T @ a + alphas[best] * np.eye(3), a.T @ (y[:, unit] - y[:, unit].mean()))
        weights = weights / (pooled[best].std(0) + pooled[best].std(0).mean())
        close(found.row_weight[row], weights, 1e-4)
        close(found.intercept[unit], np.array(y[:, unit].mean() - pooled[best].mean(0) @ weights), 1e-4)


def test_the_family_is_the_one_that_predicts_left_out_images_best_whatever_its_name_or_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Against explicit refits of both families without each image; nothing that is fitted knows a name."""
    monkeypatch.setattr(readout, "PENALTIES", (0.1,))
    monkeypatch.setattr(readout, "N_BEST", (1,))
    rng = np.random.default_rng(5)
    n, offered = 14, ((0.2, 2), (0.5, 1))
    maps = [torch.from_numpy(rng.standard_normal((n, channels, 4, 4)).astype(np.float32)) for channels in (3, 4)]
    pooled = [
        np.einsum("wp,ncp->wnc", windows.weights(windows.grid(offered), 4, 4), m.flatten(2).numpy().astype(np.float64))
        for m in maps
    ]
    first, second = (z[1] @ rng.standard_normal(z.shape[2]) for z in pooled)
    y = np.stack([(1 - share) * first + share * second for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)], 1)
    y += 0.05 * rng.standard_normal(y.shape)
    error = np.empty((2, y.shape[1]))
    for family, of_windows in enumerate(pooled):
        of_window = []
        for z in of_windows:
            z = z / (z.std(0) + z.std(0).mean())
            alpha = 0.1 * np.sum((z - z.mean(0)) ** 2) / (n - 1)
            of_window.append([sum(ridge_error(z, one, alpha, [i], i) ** 2 for i in range(n)) for one in y.T])
        error[family] = np.min(of_window, axis=0)
    best = error.argmin(0)
    assert {*best.tolist()} == {0, 1}
    one = readout.fit([[m] for m in maps], [[offered]] * 2, y)
    other = readout.fit([[m] for m in maps[::-1]], [[offered]] * 2, y)
    np.testing.assert_array_equal(one.family, best)
    np.testing.assert_array_equal(other.family, 1 - best)
    close(other.left_out, one.left_out, 1e-6)


def test_rows_of_movies_are_learnt_from_with_a_level_of_their_own_and_choose_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scenes left out one by one, against refits to the others and to all rows, each kind with an intercept."""
    monkeypatch.setattr(readout, "PENALTIES", (0.1,))
    monkeypatch.setattr(readout, "N_BEST", (1,))
    rng = np.random.default_rng(5)
    n, m = 9, 14
    layer = torch.from_numpy(rng.standard_normal((n + m, 3, 5, 5)).astype(np.float32))
    z = np.einsum(
        "wp,ncp->wnc", windows.weights(windows.grid(((0.5, 1),)), 5, 5), layer.flatten(2).numpy().astype(np.float64)
    )[0]
    y = z @ rng.standard_normal((3, 2)) + 0.05 * rng.standard_normal((n + m, 2))
    kind = np.repeat([0, 1], [n, m])

    def refit(rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights of the scaled channels and the intercept of scenes."""
        level = np.stack([kind == 0, kind == 1], axis=1)[rest].astype(float)
        own = np.eye(len(rest)) - level @ np.linalg.pinv(level)
        a, b = own @ scaled[rest], own @ y[rest]
        weights = np.linalg.solve(a.T @ a + alpha * np.eye(3), a.T @ b)
        scenes = rest[rest < n]
        return weights, (y[scenes] - scaled[scenes] @ weights).mean(0)

    scale = z.std(0) + z.std(0).mean()
    scaled = z / scale
    alpha = 0.1 * sum(np.sum((scaled[kind == k] - scaled[kind == k].mean(0)) ** 2) for k in (0, 1)) / (n + m - 1)
    found = readout.fit([[layer]], [[((0.5, 1),)]], y, n_scored=n)
    for i in range(n):
        weights, intercept = refit(np.setdiff1d(np.arange(n + m), [i]))
        close(found.left_out[i], scaled[i] @ weights + intercept, 1e-4)
    weights, intercept = refit(np.arange(n + m))
    close(np.stack(found.row_weight, axis=1), weights / scale[:, None], 1e-4)
    close(found.intercept, intercept, 1e-4)
    higher = y + 7.0 * (kind == 1)[:, None]  # units that fire more during movies, for whatever reason
    close(readout.fit([[layer]], [[((0.5, 1),)]], higher, n_scored=n).intercept, found.intercept, 1e-4)
    assert len(found.left_out) == n


def formula(model: encoder.Encoder, pixels: np.ndarray) -> np.ndarray:
    """intercept + sum of weight x channel pooled under the window, row by row, in float64."""
    maps = encoder.maps_of(pixels, model.family_name.tolist(), no_weights)
    out = np.tile(model.intercept, (len(pixels), 1))
    for row in range(len(model.row_column)):
        values = maps[model.row_family[row]][model.row_layer[row]].double().numpy()
        place = windows.weights(model.row_window[row : row + 1], *values.shape[2:])[0]
        weight = model.weight[model.row_start[row] : model.row_start[row + 1]].astype(np.float64)
        out[:, model.row_column[row]] += values.reshape(*values.shape[:2], -1) @ place @ weight
    return out


def test_dense_and_shared_predictions_are_the_formula_of_the_kept_model(tmp_path: Path) -> None:
    pixels, new = photographs(40), photographs(7, seed=9)
    models = [fitted(pixels[:30], tuned(pixels)[:30]), fitted(pixels[10:], tuned(pixels)[10:])]
    models[0].save(tmp_path / "model.npz")
    models[0] = encoder.Encoder.load(tmp_path / "model.npz")
    expected = np.stack([formula(model, new) for model in models])
    close(encoder.predict(models[0], new, no_weights, batch_size=3).astype(np.float32), expected[0], 1e-4)
    close(of_folds.predict(models, new, no_weights), expected, 1e-4)
    close(of_folds.predict(models, new, no_weights, batch_size=2), expected, 1e-4)
    other = fitted(pixels, tuned(pixels), ["luminance"])
    with pytest.raises(ValueError, match="of different families or columns"):
        of_folds.predict([models[0], other], new, no_weights)


def test_predictions_have_a_gradient_in_the_image() -> None:
    pixels = photographs(30)
    predictor = encoder.Predictor(fitted(pixels, tuned(pixels)), no_weights).double()
    image = torch.from_numpy(photographs(1, seed=4) / 255.0).requires_grad_()
    direction = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 64, 64)))
    predictor(image).sum().backward()
    assert image.grad is not None
    slope = float((image.grad * direction).sum())
    with torch.no_grad():
        step = 1e-5
        difference = (predictor(image + step * direction) - predictor(image - step * direction)).sum() / (2 * step)
    assert slope == pytest.approx(float(difference), rel=1e-3)
    assert abs(slope) > 0


def test_the_first_convolution_of_grey_images_is_that_of_three_equal_colours() -> None:
    """Its gradient too, and at the border, where zeros are put around the normalised image."""
    torch.manual_seed(0)
    first = torch.nn.Conv2d(3, 64, 11, stride=4, padding=2).requires_grad_(False)
    images = torch.rand(2, 1, alexnet.SEEN_PX, alexnet.SEEN_PX, requires_grad=True)
    found = alexnet._Grey(first)(images)
    weight = torch.randn_like(found)
    (found * weight).sum().backward()
    exact = images.detach().double().requires_grad_()
    mean, deviation = (torch.tensor(c, dtype=torch.float64)[:, None, None] for c in (IMAGENET_MEAN, IMAGENET_STD))
    expected = first.double()((exact.expand(-1, 3, -1, -1) - mean) / deviation)
    (expected * weight).sum().backward()
    close(found.detach().numpy(), expected.detach().numpy())
    assert images.grad is not None
    assert exact.grad is not None
    close(images.grad.numpy(), exact.grad.numpy())


def test_a_planted_unit_is_found_at_its_place() -> None:
    pixels = photographs(120)
    places = np.array([[0.3, 0.7], [0.65, 0.35]])
    energy = np.stack([gabor_energy(pixels, *place, sigma=0.09, angle=0.4) for place in places], 1)
    x = np.tile(energy, 3)
    model = fitted(pixels, x)
    assert (model.family == NAMES.index("gabor")).all()
    assert (model.r2 > 0.6).all()
    for column in range(6):
        rows = model.row_column == column
        distance = np.linalg.norm(model.row_window[rows, 1:] - places[column % 2], axis=1)
        assert np.median(distance) < 0.1


def test_units_without_tuning_are_predicted_by_their_mean_or_hardly_worse() -> None:
    pixels = photographs(60)
    x = np.random.default_rng(5).standard_normal((60, 6))
    x[:, 2] = 4.0  # silent
    x[:, 5] = np.tile([-1.0, 1.0], 30)  # what the images cannot tell
    model = fitted(pixels, x)
    # The number of windows is chosen by the errors that r2 reports: a little above 0 by chance.
    assert np.delete(model.r2, 2).max() < 0.1
    # A unit keeps its mean where every family is worse than that of the other images.
    mean = model.family < 0
    assert mean[2]
    assert (model.r2[~mean] > 1 - (60 / 59) ** 2).all()
    new = encoder.predict(model, photographs(5, seed=8), no_weights)
    close(new[:, mean], np.tile(x.mean(0)[mean], (5, 1)), 1e-6)
    close(model.left_out[:, mean], ((x.sum(0) - x) / 59)[:, mean], 1e-10)


def shrunk(residual: np.ndarray) -> tuple[np.ndarray, float]:
    """Schaefer and Strimmer's estimate around 0, entry by entry."""
    n, p = residual.shape
    deviation = np.sqrt((residual**2).mean(0))
    z = residual / deviation
    above = below = 0.0
    correlation = np.eye(p)
    for u in range(p):
        for v in range(p):
            if u == v:
                continue
            products = [z[k, u] * z[k, v] for k in range(n)]
            correlation[u, v] = np.mean(products)
            above += sum((w - np.mean(products)) ** 2 for w in products) / (n * (n - 1))
            below += np.mean(products) ** 2
    strength = min(1.0, max(0.0, above / below))
    for u in range(p):
        for v in range(p):
            correlation[u, v] *= 1.0 if u == v else 1 - strength
    return deviation[:, None] * correlation * deviation, strength


@pytest.mark.parametrize("n", [8, 40])
def test_the_covariance_is_that_of_an_explicit_loop(n: int) -> None:
    rng = np.random.default_rng(n)
    residual = rng.standard_normal((n, 5)) @ rng.standard_normal((5, 5)) + 0.2
    found, strength = noise.covariance(residual)
    expected, expected_strength = shrunk(residual)
    close(found, expected, 1e-10)
    assert strength == pytest.approx(expected_strength, rel=1e-10)
    assert np.linalg.eigvalsh(found).min() > 0


def test_a_silent_unit_gets_the_smallest_variance_and_copies_stay_invertible() -> None:
    rng = np.random.default_rng(0)
    residual = rng.standard_normal((30, 4)) * [1.0, 2.0, 3.0, 0.0]
    assert noise.covariance(residual)[0][3, 3] == pytest.approx((residual[:, 0] ** 2).mean())
    copies = np.tile(rng.standard_normal((30, 1)), (1, 4))
    assert np.linalg.eigvalsh(noise.covariance(copies)[0]).min() > 0


def test_draws_of_the_noise_have_its_covariance_and_depend_on_image_and_fold_alone() -> None:
    pixels = photographs(30)
    model = fitted(pixels, tuned(pixels))
    ids = 1_000_000 + np.arange(4000)
    draws = of_folds.noise(model, ids, seed=3, number=2)
    np.testing.assert_array_equal(of_folds.noise(model, ids[[5, 1]], seed=3, number=2), draws[[5, 1]])
    assert not np.array_equal(of_folds.noise(model, ids[:5], seed=3, number=1), draws[:5])
    scale = np.sqrt(np.diag(model.covariance))
    np.testing.assert_allclose(
        np.cov(draws.T) / np.outer(scale, scale), model.covariance / np.outer(scale, scale), atol=0.08
    )
    np.testing.assert_allclose(draws.mean(0) / scale, 0, atol=0.08)


def test_what_cannot_be_fitted_is_refused() -> None:
    pixels = photographs(8)
    maps = encoder.maps_of(pixels, ["luminance"], no_weights)
    offered = [encoder.family("luminance").WINDOWS]
    x = np.random.default_rng(0).standard_normal((8, 2))
    with pytest.raises(ValueError, match="at least 4 training images, got 3"):
        readout.fit(maps, offered, x[:3])
    x[2, 1] = np.nan
    with pytest.raises(ValueError, match="responses are not finite in 1 of 16 places"):
        readout.fit(maps, offered, x)
    with pytest.raises(KeyError, match="encoding family 'gabr' does not exist; there are alexnet, clip, efficientnet"):
        encoder.family("gabr")
    with pytest.raises(ValueError, match=r"residuals are \(3, 2\), expected finite ones of at least 4 images"):
        noise.covariance(np.ones((3, 2)))
    with pytest.raises(ValueError, match="no unit has any residual"):
        noise.covariance(np.zeros((5, 2)))


@pytest.mark.parametrize("name", ["luminance", "gabor", "alexnet", "efficientnet"])
def test_no_weight_of_a_window_is_subnormal(name: str) -> None:
    """Products with numbers that float32 cannot normalise take twenty times as long, and change nothing."""
    for layer in encoder.family(name).WINDOWS:
        for side in (5, 16, 23):
            place = windows.weights(windows.grid(layer), side, side)
            close(place.sum(1), np.ones(len(place)))
            assert np.all((place == 0) | (place >= windows.NEGLIGIBLE))


def test_no_gabor_has_a_subnormal_envelope() -> None:
    for sigma, places in gabor.LAYERS:
        envelope = gabor._matrices(sigma, places)[0]
        assert torch.all((envelope == 0) | (envelope >= windows.NEGLIGIBLE))
