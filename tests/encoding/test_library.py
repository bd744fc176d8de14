"""The library shares nothing with what was shown: copies are refused, views are deterministic, bad files are named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spikevaediff.encoding import library
from spikevaediff.records import Stimuli
from spikevaediff.regression import split


def photograph(seed: int, size: int = 96) -> np.ndarray:
    """Something with structure at all scales, uint8 (size, size)."""
    rng = np.random.default_rng(seed)
    waves = np.fft.fftfreq(size)
    radius = np.hypot(waves[:, None], waves[None])
    radius[0, 0] = 1
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) / radius**1.2).real
    return np.clip(127 + 45 * (field - field.mean()) / field.std(), 0, 255).astype(np.uint8)


SHOWN = Stimuli("shown", np.array([4, 7, 9]), np.stack([photograph(seed) for seed in range(3)]))


def folder_of(folder: Path, pictures: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.mark.parametrize(
    ("changed", "bits"),
    [
        (lambda pixels: pixels, 0),
        (lambda pixels: pixels[:, ::-1], 0),
        (lambda pixels: np.clip(pixels * 1.2 + 8, 0, 255).astype(np.uint8), None),
        (lambda pixels: np.clip(pixels[:, ::-1] * 0.8, 0, 255).astype(np.uint8), None),
        (lambda pixels: np.roll(pixels, 1, axis=1), None),
    ],
)
def test_a_copy_of_what_was_shown_is_refused_by_name(tmp_path: Path, changed, bits: int | None) -> None:
    pictures = {
        "a.png": photograph(10),
        "b.png": np.ascontiguousarray(changed(SHOWN.pixels[1])),
        "c.png": photograph(11),
    }
    told = rf"leaks what is tested: b.png shows what image_id 7 shows \({'' if bits is None else bits}.*bits differ\)"
    with pytest.raises(ValueError, match=told) as refused:
        library.make(folder_of(tmp_path / "own", pictures), SHOWN, n_images=10, seed=0)
    assert "a.png" not in str(refused.value)
    assert "c.png" not in str(refused.value)


def test_a_folder_gives_its_first_pictures_by_name_with_ids_of_no_data_set(tmp_path: Path) -> None:
    pictures = {f"{name}.png": photograph(20 + seed) for seed, name in enumerate("cab")}
    own = folder_of(tmp_path / "own", pictures)
    (own / ".hidden").write_text("no picture")
    found = library.make(own, SHOWN, n_images=2, seed=0)
    assert found.image_id.tolist() == [1_000_000, 1_000_001]
    assert found.pixels.shape == (2, 128, 128)
    expected = [Image.fromarray(pictures[f"{name}.png"]).resize((128, 128), Image.Resampling.BICUBIC) for name in "ab"]
    np.testing.assert_array_equal(found.pixels, np.stack([np.asarray(image) for image in expected]))
    assert len(library.make(own, SHOWN, n_images=99, seed=0).image_id) == 3
    assert library.make(own, SHOWN, n_images=0, seed=0).pixels.shape == (0, 128, 128)


def test_files_that_are_no_pictures_are_named(tmp_path: Path) -> None:
    own = folder_of(tmp_path / "own", {"a.png": photograph(1)})
    (own / "notes.txt").write_text("words")
    (own / "torn.png").write_bytes((own / "a.png").read_bytes()[:200])
    with pytest.raises(ValueError, match=r"not pictures that can be read: notes.txt \(.*\); torn.png \("):
        library.make(own, SHOWN, n_images=5, seed=0)
    with pytest.raises(FileNotFoundError, match=r"library.folder is .*nowhere, which is not a folder"):
        library.make(tmp_path / "nowhere", SHOWN, n_images=5, seed=0)
    with pytest.raises(ValueError, match="n_images is -1, expected 0 or more"):
        library.make(own, SHOWN, n_images=-1, seed=0)


def test_a_view_depends_on_its_number_alone_and_none_shows_what_was_shown() -> None:
    crops = [photograph(30, 80), SHOWN.pixels[0], photograph(31, 120)]
    found = library.views(crops, SHOWN, 8, 5)
    np.testing.assert_array_equal(library.views(crops, SHOWN, 3, 5), found[:3])
    assert not np.array_equal(library.views(crops, SHOWN, 3, 6), found[:3])
    # The second crop was shown: views come from the other two in turn.
    for i in range(8):
        rng = np.random.default_rng([5, i])
        expected = library.draw_view([crops[0], crops[2]][i % 2], rng, least_side=0.5, size_px=128)
        np.testing.assert_array_equal(found[i], expected)
    assert not len(split.near_copies(found, SHOWN.pixels))


def test_a_view_that_shows_what_was_shown_is_drawn_again_from_the_next_crop() -> None:
    crops = [photograph(40, 100), photograph(41, 100)]
    first = library.views(crops, SHOWN, 4, 0)
    shown = Stimuli("shown", np.array([1]), np.ascontiguousarray(first[2:3, :, ::-1]))
    again = library.views(crops, shown, 4, 0)
    np.testing.assert_array_equal(again[[0, 1, 3]], first[[0, 1, 3]])
    expected = library.draw_view(crops[1], np.random.default_rng([0, 2, 1]), least_side=0.5, size_px=128)
    np.testing.assert_array_equal(again[2], expected)
    with pytest.raises(ValueError, match="each of 2 training crops shows what an image of the data set shows"):
        library.views(crops, Stimuli("shown", np.arange(2), np.stack(crops)), 4, 0)


def test_near_copies_are_the_near_duplicates_across_two_sets() -> None:
    other = np.stack([photograph(2), photograph(50), np.ascontiguousarray(photograph(0)[:, ::-1])])
    joined = Stimuli("both", np.arange(6), np.concatenate([other, SHOWN.pixels]))
    across = {(a, b - 3) for a, b, _ in split.near_duplicates(joined).tolist() if a < 3 <= b}
    found = split.near_copies(other, SHOWN.pixels)
    assert {(a, b) for a, b, _ in found.tolist()} == across == {(0, 2), (2, 0)}
    assert split.near_copies(other[:0], SHOWN.pixels).shape == (0, 3)
