"""`dvc exp run -S dataset=allen` as a user types it: against a server on this machine, and without a network."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import allen_files
import h5py
import pytest
from bucket import Bucket, serving
from conftest import ROOT
from small_profile import Run, cache_with_networks, cloned, commit, dvc
from test_blip2 import WORDS, build

from spikevaediff.records import Captions, Responses, Stimuli

pytestmark = pytest.mark.slow

# To the scores of the visual population and of the control. The scenes here are not photographs and the spikes know
# nothing of them, so what comes later, checks that stop at scores which cannot be, has nothing to look at.
LAST = ["quality", "regress@text", "evaluate@vdvae", "evaluate@control"]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A session and the scenes at their true size, as in the bucket, and the number of the session."""
    folder = tmp_path_factory.mktemp("published")
    known = ROOT.parent / "shared/data/allen_layout_nwb_fixture/session_900000001.nwb"
    path = folder / "session_900000001/session_900000001.nwb"
    if known.is_file():
        path.parent.mkdir()
        shutil.copyfile(known, path)
    else:
        allen_files.session(path, 900000001, n_images=118, n_repeats=4, units_per_area=18)
    allen_files.templates(folder / "natural_scene_templates", 118, (918, 1174))
    return folder, 900000001


@pytest.fixture(scope="module")
def bucket(published: tuple[Path, int]) -> Iterator[Bucket]:
    with serving(published[0]) as running:
        yield running


def with_manifest(clone: Path, base_url: str, folder: Path) -> Path:
    content = allen_files.manifest(base_url, folder, [900000001], 118, (918, 1174))
    allen_files.write_manifest(clone / "vendor/data/allen", content)
    commit(clone, "A manifest")
    return clone


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's cache that has the networks and lacks the recordings."""
    return cache_with_networks(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def ran(source: Path, bucket: Bucket, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    clone = with_manifest(cloned(source, tmp_path_factory.mktemp("allen")), bucket.url, bucket.folder)
    network = build(tmp_path_factory.mktemp("blip2"))
    with h5py.File(bucket.folder / "session_900000001/session_900000001.nwb") as file:
        location = file["general/extracellular_ephys/electrodes/location"].asstr()[:]
    areas = {name.split("-")[0] for name in location} & {"VISp", "VISl", "VISal", "LGd", "LP"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPIKEVAEDIFF_CACHE", str(cache))
        options = {
            "dataset": "allen",
            "datasets.allen.sessions": "[900000001]",
            "datasets.allen.size_px": 64,
            "areas.visual": f"[{','.join(sorted(areas))}]",
            "responses.min_units": 2,  # the fixture is small
            "captions.model": network,
            "captions.max_new_tokens": 6,
            "library.n_images": 12,
            "regress.vdvae.library": 12,
        }
        words = [word for name, value in options.items() for word in ("-S", f"{name}={value}")]
        return clone, dvc(clone, "exp", "run", *words, *LAST)


def test_a_recording_is_fetched_counted_described_decoded_and_scored(ran: tuple[Path, Run], cache: Path) -> None:
    clone, run = ran
    assert run.code == 0, run.output
    assert run.ran >= {"acquire", "captions", "split", "responses@visual", "features@text", "decode@vdvae", *LAST}
    assert "fetching session 900000001 and 118 scenes" in run.output
    responses = Responses.load(clone / "artifacts/responses/visual.npz")
    assert responses.session_id.tolist() == [900000001]
    assert set(responses.image_id.tolist()) == set(range(-1, 118))
    stimuli = Stimuli.load(clone / "artifacts/images.npz")
    assert stimuli.pixels.shape == (118, 64, 64)
    captions = Captions.load(clone / "artifacts/captions.csv")
    assert len(captions.image_id) == 118
    assert {word for said in captions.sentences for caption in said for word in caption.split()} <= set(WORDS)
    for name in ("vdvae", "control"):
        scores = json.loads((clone / f"artifacts/scores/{name}.json").read_text())
        assert -1 <= scores["metrics"]["pixcorr"]["mean"] <= 1
    assert not list((cache / "captions").iterdir())
    with h5py.File(clone / "artifacts/sessions/900000001.nwb") as file:
        assert "processing/optotagging" not in file


def test_what_was_fetched_outlives_a_clean_up_of_dvcs_cache(ran: tuple[Path, Run], cache: Path) -> None:
    clone, _ = ran
    before = sorted(path for path in (cache / "allen").rglob("*") if path.is_file())
    assert len(before) == 119
    assert dvc(clone, "gc", "--workspace", "--force", "--quiet").code == 0
    assert sorted(path for path in (cache / "allen").rglob("*") if path.is_file()) == before


def test_without_a_network_the_user_is_told_what_is_missing_and_what_to_do(
    source: Path, published: tuple[Path, int], tmp_path: Path
) -> None:
    clone = with_manifest(cloned(source, tmp_path), "https://absent.invalid/ecephys-cache/", published[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / "cache"))
        run = dvc(clone, "exp", "run", "-S", "dataset=allen", "-S", "datasets.allen.sessions=[900000001]")
    assert run.code != 0
    lines = [line for line in run.output.splitlines() if line.startswith("FileNotFoundError")]
    assert len(lines) == 1, run.output
    (line,) = lines
    for part in (
        "session 900000001 and 118 scenes",
        "cannot be fetched from https://absent.invalid/ecephys-cache/ now: no connection",
        "run the same command again",
        f"is not in {tmp_path / 'cache' / 'allen'}",
    ):
        assert part in line
    assert "Traceback" not in run.output
    assert "failed to reproduce 'acquire'" in run.output
