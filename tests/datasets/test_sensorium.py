"""The script of docs/sensorium.md on files in the layout of SENSORIUM 2022, and the folder it writes, acquired."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from conftest import ROOT
from PIL import Image

from spikevaediff.datasets import plain
from spikevaediff.images import resize
from spikevaediff.records import Responses, Stimuli

N_IMAGES, N_CELLS = 14, 9


def mouse(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Files of a mouse: trials out of order, four photographs of the tier test ten times; (order, shown, responses)."""
    rng = np.random.default_rng(0)
    shown = rng.permutation(np.concatenate([np.arange(100, 110), np.repeat(np.arange(110, 114), 10)]))
    tier = np.where(shown >= 110, "test", np.where(shown == 105, "validation", "train"))
    shown, tier = np.append(shown, 999), np.append(tier, "final_test")  # withheld: no response
    images = rng.integers(0, 256, (1000, 6, 9)).astype(np.uint8)
    pixels = {i: np.asarray(Image.fromarray(images[i]).resize((64, 36)), np.float32)[None] for i in set(shown.tolist())}
    responses = rng.gamma(1.0, 2.0, (len(shown), N_CELLS)).astype(np.float32)
    order = rng.permutation(len(shown))
    for part in ("data/images", "data/responses", "meta/trials", "meta/neurons"):
        (folder / part).mkdir(parents=True)
    for i in range(len(shown)):
        np.save(folder / f"data/images/{i}.npy", pixels[int(shown[i])])
        if tier[i] != "final_test":
            np.save(folder / f"data/responses/{i}.npy", responses[i])
    np.save(folder / "meta/trials/frame_image_id.npy", shown)
    np.save(folder / "meta/trials/tiers.npy", tier)
    np.save(folder / "meta/trials/trial_idx.npy", order)
    np.save(folder / "meta/neurons/unit_ids.npy", np.arange(1, N_CELLS + 1))
    return order, shown, responses


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    words = (sys.executable, ROOT / "docs/sensorium.py", *words)
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_a_mouse_becomes_a_folder_of_the_plain_format(tmp_path: Path) -> None:
    folder = tmp_path / "static21067-10-18-GrayImageNet-94c6"
    order, shown, responses = mouse(folder)
    done = run(folder, tmp_path / "data")
    assert (done.returncode, done.stderr) == (0, "")
    plain.acquire(tmp_path / "data", tmp_path / "out", source="mouse", size_px=32, window_s=[0.05, 0.55], margin_s=1.0)
    found = Responses.load(tmp_path / "out/sessions/21067.npz")
    rows = [i for i in sorted(range(len(shown)), key=lambda i: order[i]) if shown[i] != 999]
    assert found.image_id.tolist() == shown[rows].tolist()
    np.testing.assert_array_equal(found.counts[:, :, 0], responses[rows])
    assert found.units.unit_id.tolist() == list(range(1, N_CELLS + 1))
    stimuli = Stimuli.load(tmp_path / "out/images.npz")
    assert len(stimuli.image_id) == N_IMAGES
    for i, pixels in zip(stimuli.image_id.tolist(), stimuli.pixels, strict=True):
        whole = np.load(folder / f"data/images/{shown.tolist().index(i)}.npy")[0].astype(np.uint8)
        np.testing.assert_array_equal(pixels, resize(whole[None], 32)[0])


def test_withheld_responses_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "static26872-17-20-GrayImageNet-94c6"
    _, shown, _ = mouse(folder)
    for i in np.flatnonzero((shown >= 110) & (shown < 999))[:7].tolist():
        np.save(folder / f"data/responses/{i}.npy", np.zeros(N_CELLS, np.float32))
    done = run(folder, tmp_path / "data")
    assert done.returncode == 1
    assert "responses are 0 in 7 trials: those of the competition are withheld" in done.stderr
    assert not (tmp_path / "data").exists()


def test_the_script_is_as_short_as_its_page_says() -> None:
    lines = [line for line in (ROOT / "docs/sensorium.py").read_text().splitlines() if line.strip()]
    assert len(lines) <= 30
