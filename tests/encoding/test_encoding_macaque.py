"""Encoding models of macaque V4 identify photographs that they have not seen, from real spike counts."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spikevaediff.encoding import encoder, identification
from spikevaediff.files import assets

FAMILIES = ["luminance", "gabor", "alexnet", "efficientnet"]
N_TESTED, N_CANDIDATES, N_DRAWS = 240, 118, 20


@pytest.mark.slow
@pytest.mark.parametrize(("n_train", "least"), [(106, 0.50), (300, 0.72)])
def test_unseen_photographs_are_identified_among_118(shared: Path, n_train: int, least: float) -> None:
    """As many candidates as Allen natural scenes; chance .0085. `pytest -s` prints the share."""
    folder = shared / "data/cowley_macaque_v4"
    with zipfile.ZipFile(folder / "session_201025_images.zip") as archive:
        files = [archive.read(name) for name in sorted(archive.namelist())]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("L")) for file in files])
    with np.load(folder / "session_201025.npz") as session:
        x = session["mean_counts"].astype(np.float64)
    order = np.random.default_rng(0).permutation(len(x))
    tested, trained = order[:N_TESTED], order[N_TESTED : N_TESTED + n_train]
    n_units = x.shape[1]
    units = {"unit_id": np.arange(n_units), "session_id": np.full(n_units, 201025), "area": np.full(n_units, "V4")}
    maps = encoder.maps_of(pixels[trained], FAMILIES, assets.fetch)
    model = encoder.fit(maps, x[trained], families=FAMILIES, image_id=trained, units=units)
    predicted = encoder.predict(model, pixels[tested], assets.fetch)
    likelihood = identification.log_likelihood(x[tested], predicted, model.covariance)
    found = []
    for draw in range(N_DRAWS):
        some = np.random.default_rng(draw).choice(N_TESTED, N_CANDIDATES, replace=False)
        found.append(np.mean(identification.rank(likelihood[np.ix_(some, some)], np.arange(N_CANDIDATES)) == 0))
    print(f"{n_train} training images: {np.mean(found):.3f} of unseen photographs identified")
    assert np.mean(found) >= least
    # Responses of other images identify nothing.
    turned = identification.log_likelihood(np.roll(x[tested], 1, axis=0), predicted, model.covariance)
    assert np.mean(identification.rank(turned, np.arange(N_TESTED)) == 0) < 0.03
