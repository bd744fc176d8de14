"""The photographs that units would answer most: against responses computed one by one, and what is refused."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_encoding import fitted, formula, photographs, tuned

from spikevaediff.__main__ import main
from spikevaediff.encoding.encoder import Encoder
from spikevaediff.records import Stimuli
from spikevaediff.tools import preferred


@pytest.fixture(scope="module")
def units() -> Encoder:
    """Six units; the first two columns are the time windows of one, and the last keeps its mean."""
    pixels = photographs(40)
    model = fitted(pixels, tuned(pixels))
    unit_id, family = np.array([7, 7, 8, 9, 10, 11]), model.family.copy()
    family[5] = -1
    return replace(model, unit_id=unit_id, family=family)


@pytest.fixture(scope="module")
def library() -> Stimuli:
    return Stimuli("fields", 500 + np.arange(30), photographs(30, seed=9))


def test_the_table_has_the_images_of_the_largest_responses(units: Encoder, library: Stimuli, tmp_path: Path) -> None:
    units.save(tmp_path / "units.npz")
    library.save(tmp_path / "library.npz")
    out = tmp_path / "preferred.csv"
    words = ["preferred", str(tmp_path / "units.npz"), "--images", str(tmp_path / "library.npz")]
    assert main([*words, "--each", "3", "--out", str(out)]) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    of_columns = formula(units, library.pixels)  # (n_images, n_columns), by the formula of the model in float64
    expected = {7: of_columns[:, 0] + of_columns[:, 1]}
    expected |= {8 + k: of_columns[:, 2 + k] for k in range(4) if units.family[2 + k] >= 0}
    assert 3 <= len(expected) <= 4  # unit 11 prefers nothing
    assert len(rows) == 3 * len(expected)
    r2 = [float(row["r2"]) for row in rows]
    assert r2 == sorted(r2, reverse=True)
    for unit, responses in expected.items():
        of_unit = [row for row in rows if int(row["unit_id"]) == unit]
        best = np.argsort(-responses)[:3]
        assert [int(row["image_id"]) for row in of_unit] == library.image_id[best].tolist()
        assert [int(row["rank"]) for row in of_unit] == [1, 2, 3]
        np.testing.assert_allclose([float(row["response"]) for row in of_unit], responses[best], rtol=1e-3)
        np.testing.assert_allclose(float(of_unit[0]["mean"]), responses.mean(), rtol=1e-3)
        np.testing.assert_allclose(float(of_unit[0]["sd"]), responses.std(), rtol=1e-3)
        assert of_unit[0]["area"] == "VISp"
    with Image.open(out.with_suffix(".png")) as picture:
        assert np.ptp(np.asarray(picture.convert("L"))) > 200


def test_what_cannot_be_is_refused_before_anything_is_written(
    units: Encoder, library: Stimuli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    responses = formula(units, library.pixels)
    for n in (0, 31):
        with pytest.raises(ValueError, match=rf"{n} images per unit are asked for, expected 1 to 30"):
            preferred.rows(units, responses, library.image_id, n)
    silent = replace(units, family=np.full(6, -1))
    with pytest.raises(ValueError, match="none of 5 units prefers an image"):
        preferred.rows(silent, responses, library.image_id, 3)
    out = tmp_path / "preferred.png"
    assert main(["preferred", "units.npz", "--out", str(out)]) == 1
    assert "expected a name that ends in .csv" in capsys.readouterr().err
    assert not out.exists()
