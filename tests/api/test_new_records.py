"""Responses from arrays, a run that is not there, and an import that costs nothing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

import spikevaediff

COUNTS, SHOWN = np.array([[1, 0], [2, 5], [0, 7]]), np.array([4, -1, 4])
KNOWN = {"unit_id": np.array([30, 20]), "window_s": np.array([0.0, 0.25])}


def test_arrays_become_a_record() -> None:
    made = spikevaediff.make_responses(COUNTS, SHOWN, area=["V1", "V4"], session_id=3, snr=[2.0, 3.0], **KNOWN)
    assert made.counts.dtype == np.uint16
    np.testing.assert_array_equal(made.counts[:, :, 0], COUNTS)
    np.testing.assert_array_equal(made.image_id, SHOWN)
    np.testing.assert_array_equal(made.presentation_id, [[0], [1], [2]])
    np.testing.assert_array_equal(made.window_s, [[0, 0.25]])
    np.testing.assert_array_equal(made.units.unit_id, [30, 20])
    np.testing.assert_array_equal(made.units.area, ["V1", "V4"])
    np.testing.assert_array_equal(made.units.snr, [2, 3])
    assert np.isnan(made.units.firing_rate).all()


def test_a_record_like_another_has_its_units_and_windows() -> None:
    first = spikevaediff.make_responses(COUNTS, SHOWN, **KNOWN)
    second = spikevaediff.make_responses(COUNTS[:1] / 2, SHOWN[:1], like=first)
    assert second.counts.dtype == np.float64
    np.testing.assert_array_equal(second.units.unit_id, first.units.unit_id)
    np.testing.assert_array_equal(second.window_s, first.window_s)
    with pytest.raises(ValueError, match="Responses: 2 units listed, 1 counted"):
        spikevaediff.make_responses(COUNTS[:, :1], SHOWN, like=first)
    with pytest.raises(ValueError, match="leave out unit_id, window_s and metrics"):
        spikevaediff.make_responses(COUNTS, SHOWN, like=first, **KNOWN)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"counts": COUNTS - 1}, "counts are from -1 to 6, expected spike counts, 0 to 65535"),
        ({"counts": COUNTS * 10**5}, "expected spike counts, 0 to 65535"),
        ({"counts": COUNTS[0]}, r"counts has the shape \(2,\), expected \(presentation, unit\)"),
        ({"image_id": SHOWN + 0.5}, "image_id is float64, expected whole numbers"),
        ({"unit_id": None}, "give unit_id and window_s, or `like`"),
        ({"quality": [1, 2]}, "there is no metric quality; there are snr, isi_violations"),
        ({"window_s": [0.0, 250.0]}, "expected seconds, up to 60 from onset"),
        ({"unit_id": np.array([20, 20])}, r"\(session_id, unit_id\) must be unique"),
    ],
)
def test_what_is_no_record_is_refused(changed: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        spikevaediff.make_responses(**{"counts": COUNTS, "image_id": SHOWN} | KNOWN | changed)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"params.yaml does not exist. Name a project .* dvc repro"):
        spikevaediff.load(tmp_path)
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    with pytest.raises(FileNotFoundError, match=r"artifacts/images.npz does not exist"):
        spikevaediff.load(tmp_path / "artifacts")


def test_importing_the_package_imports_nothing_else() -> None:
    code = (
        "import sys, spikevaediff; "
        "print([name for name in ('numpy', 'torch', 'jax', 'matplotlib', 'spikevaediff.api') if name in sys.modules]); "
        "print(all(name in dir(spikevaediff) for name in spikevaediff.__all__))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'vendor'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\nTrue\n"


def test_every_name_that_is_promised_is_there_and_others_are_answered() -> None:
    for name in spikevaediff.__all__:
        assert callable(getattr(spikevaediff, name))
    with pytest.raises(AttributeError, match=r"has no attribute 'lod'; it has Named, Run, activate, encode"):
        spikevaediff.lod  # noqa: B018
