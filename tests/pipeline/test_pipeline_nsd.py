"""From files in the layout of the Natural Scenes Dataset to predicted latents, by the pipeline as it is."""

import hashlib
from pathlib import Path

import nsd_files
import numpy as np
import pytest
from bucket import serving
from small_profile import cache_with_networks, checkout, edit, stage, succeeded

from spikevaediff.files import terms
from spikevaediff.records import Features, ImageSplit, Responses

pytestmark = pytest.mark.slow

CHANGES = {
    "dataset": "nsd",
    "datasets.nsd.subject": nsd_files.SUBJECT,
    "datasets.nsd.size_px": nsd_files.SIDE_PX,
    "areas.visual": ["nsdgeneral"],
    "areas.control": "shuffled",
    "responses.start_s": None,
    "responses.duration_s": None,
    "responses.n_bins": None,
    "split.method": "given",
    "parts.analyses": False,
    "parts.second_stage": False,
    "regress.common.renormalise": "none",
    "library.n_images": 12,
    "regress.vdvae.library": 0,
    "regress.text.library": 0,
    "regress.vision.library": 0,
}


def test_voxels_predict_the_latents_of_photographs_that_were_never_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nsd_files.write(tmp_path / "published")
    clone = checkout(tmp_path / "clone")
    edit(clone / "params.yaml", CHANGES)
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(cache_with_networks(tmp_path / "cache")))
    monkeypatch.setenv(terms.ACCEPT, "nsd")
    monkeypatch.setenv("SPIKEVAEDIFF_SOURCE_NSD", str(tmp_path / "published"))
    with serving(tmp_path / "published") as bucket:
        nsd_files.write_manifest(clone / "vendor/data/nsd", bucket.url)
        refused = stage(clone, "start")
        assert refused.returncode == 1
        assert "dataset is nsd, its terms forbid passing it on" in refused.stderr
        edit(clone / "params.yaml", {"recordings_remote": "not_shared"})
        run = succeeded(clone, "repro", "regress@vdvae")
    assert {"acquire", "responses@visual", "split", "regress@vdvae"} <= run.ran
    responses = Responses.load(clone / "artifacts/responses/visual.npz")
    assert responses.counts.dtype == np.float16
    split = ImageSplit.load(clone / "artifacts/split.npz")
    assert split.n_folds == 1
    assert len(split.test_ids) == nsd_files.N_SHARED
    found, true = (Features.load(clone / f"artifacts/{kind}/vdvae.npz") for kind in ("predicted", "features"))
    predicted, shown = found.rows(split.test_ids), true.rows(split.test_ids)
    # Which tested photograph a prediction is of, by correlation over latents.
    centred = [values - true.rows(split.ids(0)[0]).mean(0) for values in (predicted, shown)]
    table = np.corrcoef(*centred)[: len(shown), len(shown) :]
    own = np.diagonal(table)[:, None]
    share = np.mean((own > table).sum(1) / (len(shown) - 1))
    print("two-way identification", share)
    assert share > 0.9  # 0.98 of seed 0
    # What is pushed: nothing of the recordings, everything else that there is.
    succeeded(clone, "remote", "add", "--local", "--default", "lab", str(tmp_path / "lab"))
    succeeded(clone, "push", "--run-cache", "-r", "lab")
    pushed = {path.parent.name + path.name for path in (tmp_path / "lab/files").rglob("*") if path.is_file()}
    kept = [*(clone / "artifacts/sessions").iterdir(), *(clone / "artifacts/responses").iterdir()]
    assert len(kept) >= 3
    assert not {hashlib.md5(path.read_bytes()).hexdigest() for path in kept} & pushed
    latents = hashlib.md5((clone / "artifacts/features/vdvae.npz").read_bytes()).hexdigest()
    assert latents in pushed
