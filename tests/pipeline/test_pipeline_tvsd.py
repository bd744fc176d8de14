"""From files in the layout of the THINGS Ventral Stream Spiking Dataset to scores, by the pipeline as it is."""

import json
from pathlib import Path

import pytest
import tvsd_files
from bucket import serving
from small_profile import cache_with_networks, checkout, edit, succeeded

from spikevaediff.datasets import tvsd
from spikevaediff.files import tables
from spikevaediff.records import ImageSplit, Responses

pytestmark = pytest.mark.slow

CHANGES = {
    "dataset": "tvsd",
    "datasets.tvsd.size_px": 32,
    "areas.visual": ["V1", "V4", "IT"],
    "areas.control": "shuffled",
    "recordings_remote": "not_shared",
    "responses.start_s": None,
    "responses.duration_s": None,
    "responses.n_bins": None,
    "split.method": "given",
    "parts.second_stage": False,
    "regress.common.renormalise": "none",
    "library.n_images": 12,
    "regress.vdvae.library": 0,
    "regress.text.library": 0,
    "regress.vision.library": 0,
}


def test_multi_unit_activity_becomes_images_with_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tvsd_files.write(tmp_path / "published", tmp_path / "things", alike=True)
    clone = checkout(tmp_path / "clone")
    edit(clone / "params.yaml", CHANGES)
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(cache_with_networks(tmp_path / "cache")))
    monkeypatch.setenv(tvsd.THINGS, str(tmp_path / "things"))
    monkeypatch.delenv("SPIKEVAEDIFF_SOURCE_TVSD", raising=False)
    with serving(tmp_path / "published") as bucket:
        tvsd_files.write_manifest(clone / "vendor/data/tvsd", bucket.url)
        run = succeeded(clone, "repro", "evaluate@vdvae", "quality")
    assert {"acquire", "responses@visual", "split", "regress@vdvae", "decode@vdvae", "evaluate@vdvae"} <= run.ran
    responses = Responses.load(clone / "artifacts/responses/visual.npz")
    assert responses.counts.shape == (
        tvsd_files.N_TRAIN + tvsd_files.N_TEST * tvsd_files.N_REPEATS,
        tvsd_files.N_ELECTRODES,
        1,
    )
    assert (responses.counts < 0).any()
    split = ImageSplit.load(clone / "artifacts/split.npz")
    assert split.test_ids.tolist() == list(range(tvsd_files.N_TRAIN, tvsd_files.N_TRAIN + tvsd_files.N_TEST))
    assert sorted({*range(tvsd_files.N_TRAIN), *split.test_ids.tolist()} - {*split.image_id.tolist()}) == [0]
    scores = json.loads((clone / "artifacts/scores/vdvae.json").read_text())["metrics"]["pixcorr"]
    assert sorted(map(int, scores["scores"])) == split.test_ids.tolist()
    # Nothing of counts: activity is z-scored, and the share that images decide stands in the place of Fano factors.
    units = tables.read(clone / "artifacts/quality/units.csv")
    assert {row["area"] for row in units} == {"V1", "V4", "IT"}
    assert {(row["fano"], row["rate_hz"], row["drift"]) for row in units} == {("", "", "")}
    assert all(0 < float(row["ceiling"]) < 1 for row in units)
