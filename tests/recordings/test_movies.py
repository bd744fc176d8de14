"""Rows of movies: pictures and responses against plain counting, their blocks, and what is refused."""

from pathlib import Path

import allen_files
import numpy as np
import pytest

from spikevaediff.recordings import movie_presentations, movies, nwb, preprocessing, sessions
from spikevaediff.recordings.nwb_writer import Recording
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.records import Stimuli
from spikevaediff.regression.split import near_copies

N_FRAMES, N_REPEATS, N_PER_ROW = 11, 6, 4
WINDOW = (0.04, 0.17)
AREAS = ["VISp", "CA1"]
ASKED = {
    "areas": AREAS,
    "limits": Limits(isi_violations_max=None, amplitude_cutoff_max=None, presence_ratio_min=None),
    "min_units": 1,
}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recording]:
    path = tmp_path_factory.mktemp("movies") / "session.nwb"
    sizes = {"n_images": 5, "n_repeats": 2, "units_per_area": 4, "movie_frames": N_FRAMES, "movie_repeats": N_REPEATS}
    made = allen_files.recording(700000001, **sizes)
    shown, at = made.movies["natural_movie_one"], made.frame_s
    # Frame 5 of the third showing is invalid: its row, frames 4 to 7, lacks that showing.
    bad = at[shown.frames[2 * N_FRAMES + 5, 0]]
    made = Recording(**vars(made) | {"invalid": [(bad + 0.01, bad + 0.02, ("stimulus",))]})
    allen_files.write(made, path)
    return path, made


def frames(n: int = N_FRAMES) -> Stimuli:
    rng = np.random.default_rng(0)
    return Stimuli("t", movies.frame_ids("natural_movie_one", n), rng.integers(0, 256, (n, 8, 8), dtype=np.uint8))


def test_counts_of_a_row_are_those_of_a_plain_count_in_every_whole_showing(session: tuple[Path, Recording]) -> None:
    path, made = session
    found = sessions.read_population(
        [path],
        windows_s=np.array([WINDOW]),
        shown=lambda one: movie_presentations.read(one, frames().image_id, N_PER_ROW),
        **ASKED,
    )
    location = dict(zip(made.electrodes["id"].tolist(), made.electrodes["location"].tolist(), strict=True))
    good = [
        u
        for u, (channel, word) in enumerate(zip(made.units["peak_channel_id"], made.units["quality"], strict=True))
        if location[channel].split("-")[0] in AREAS and word == "good"
    ]
    assert found.unit_unit_id.tolist() == made.units["id"][good].tolist()
    onset = made.frame_s[made.movies["natural_movie_one"].frames[:, 0]].reshape(N_REPEATS, N_FRAMES)
    for row in (0, 4):
        whole = [k for k in range(N_REPEATS) if (k, row) != (2, 4)]
        expected = [
            [
                sum(onset[k, row] + WINDOW[0] <= t < onset[k, row] + WINDOW[1] for t in made.spikes_s[u].tolist())
                for u in good
            ]
            for k in whole
        ]
        mine = found.image_id == movies.FIRST_ID + row
        np.testing.assert_array_equal(found.counts[mine, :, 0], expected)
        mean = preprocessing.mean_responses(found, np.array([movies.FIRST_ID + row]))
        np.testing.assert_allclose(mean[0], np.mean(expected, axis=0), rtol=1e-12)
    assert set(found.image_id.tolist()) == {movies.FIRST_ID, movies.FIRST_ID + 4}  # frames 8 to 10 make no row
    assert found.counts.sum() > 0


def test_scenes_are_read_as_before(session: tuple[Path, Recording]) -> None:
    path, made = session
    shown = nwb.read_presentations(path)
    assert shown.image_id.tolist() == made.image_id.tolist()
    assert len(nwb.read_presentations(path, "natural_movie_one").image_id) == N_FRAMES * N_REPEATS - 1


def test_a_row_that_is_never_shown_as_a_whole_or_another_movie_is_refused(session: tuple[Path, Recording]) -> None:
    path, _ = session
    with pytest.raises(ValueError, match=r"shows frame 10 of natural_movie_one, which has 10 frames"):
        movie_presentations.read(path, frames(10).image_id, 5)
    ids = frames(13).image_id
    with pytest.raises(ValueError, match=r"never shows frames 8 to 11 of natural_movie_one in a row \(1 of 3 such"):
        movie_presentations.read(path, ids, 4)
    three = movies.frame_ids("natural_movie_three", 4)
    with pytest.raises(ValueError, match=r"has no /intervals/natural_movie_three_presentations"):
        movie_presentations.read(path, three, 2)


def test_pictures_are_means_of_frames() -> None:
    one, other = frames(11), frames(6)
    both = Stimuli(
        "t",
        np.concatenate([one.image_id, movies.frame_ids("natural_movie_three", 6)]),
        np.concatenate([one.pixels, other.pixels]),
    )
    found = movies.pictures(both, 4)
    assert found.image_id.tolist() == [2_000_000, 2_000_004, 2_100_000]
    for row, first in enumerate((0, 4, 11)):
        expected = np.round(both.pixels[first : first + 4].astype(np.float64).mean(0))
        np.testing.assert_array_equal(found.pixels[row], expected)
    assert movies.names(found.image_id) == ["natural_movie_one", "natural_movie_three"]
    for n, message in ((0, "frames_per_row is 0, expected 1 or more"), (7, "is 7, more than the 6 frames")):
        with pytest.raises(ValueError, match=message):
            movies.pictures(both, n)
    nothing = movies.no_frames("t")
    assert len(movies.pictures(nothing, 4).image_id) == 0


def test_blocks_are_contiguous_parts_of_one_movie() -> None:
    rows = np.concatenate([movies.frame_ids("natural_movie_one", 70)[::7], movies.frame_ids("natural_movie_three", 5)])
    found = movies.blocks(rows, 3)
    assert found.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5]
    for n in (1, 6):
        with pytest.raises(ValueError, match=rf"movies.n_blocks is {n}, expected 2 to "):
            movies.blocks(rows, n)


def test_a_frame_that_shows_what_a_scene_shows_is_refused() -> None:
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (7, 9, 9)).astype(np.uint8)
    pictures = np.stack([np.kron(one, np.ones((14, 14), np.uint8)) for one in coarse])
    scenes = Stimuli("t", np.array([30, 31]), pictures[:2])
    shown = Stimuli("t", movies.frame_ids("natural_movie_three", 5), pictures[2:])
    movies.refuse_shown(shown, scenes, near_copies(shown.pixels, scenes.pixels))
    shown.pixels[3] = pictures[1, :, ::-1]  # mirrored
    with pytest.raises(
        ValueError, match=r"frame 3 of natural_movie_three and image_id 31 \(0 hash bits differ\) are ne"
    ):
        movies.refuse_shown(shown, scenes, near_copies(shown.pixels, scenes.pixels))


def test_the_window_is_as_long_as_that_of_the_scenes() -> None:
    np.testing.assert_allclose(movies.of_window(np.array([[0.04, 0.29]]), 0.1), [[0.1, 0.35]])
    with pytest.raises(ValueError, match=r"n_bins is 2, but movies go with one time bin"):
        movies.of_window(np.array([[0.0, 0.1], [0.1, 0.2]]), 0.04)


def test_the_level_of_a_movie_is_that_of_the_models() -> None:
    rng = np.random.default_rng(0)
    measured, expected = rng.standard_normal((5, 3)), rng.standard_normal((2, 5, 3))
    found = movies.centred(measured, expected)
    for model in range(2):
        np.testing.assert_allclose(found[model].mean(0), expected[model].mean(0), atol=1e-12)
        np.testing.assert_allclose(np.diff(found[model], axis=0), np.diff(measured, axis=0), atol=1e-12)


def test_names_and_training_without_a_movie_are_refused(session: tuple[Path, Recording]) -> None:
    for options in ("natural_movie_one", ["natural_movie_two"], ["natural_movie_one"] * 2):
        with pytest.raises(ValueError, match=r"datasets\.allen\.movies is .*, expected some of natural_movie_one, nat"):
            movies.chosen(options, "datasets.allen.movies")
    with pytest.raises(ValueError, match="there is no movie 'x'; there are natural_movie_one, natural_movie_three"):
        movies.frame_ids("x", 3)
    asked = sessions.read_population([session[0]], windows_s=np.array([WINDOW]), **ASKED)
    nothing = sessions.without_presentations(asked)
    assert nothing.counts.shape == (0, len(asked.units), 1)
    assert movies.for_training(movies.no_frames("t"), nothing, train=False) is None
    with pytest.raises(ValueError, match=r"movies\.train is true, but the data set shows no movie"):
        movies.for_training(movies.no_frames("t"), nothing, train=True)


def test_a_table_of_responses_holds_none_to_movies(session: tuple[Path, Recording], tmp_path: Path) -> None:
    counted = sessions.read_population([session[0]], windows_s=np.array([WINDOW]), **ASKED)
    counted.save(tmp_path / "1.npz")
    with pytest.raises(ValueError, match=r"1\.npz is a table of responses to images, which holds none to movies"):
        sessions.read_population([tmp_path / "1.npz"], windows_s=np.array([WINDOW]), shown=lambda path: None, **ASKED)
