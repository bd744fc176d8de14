"""The pipeline as its users run it: `dvc repro` in a fresh checkout, what a change reruns, kill -9, and bad input.

All runs are of the small profile (tests/small_profile.py).
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from small_profile import STAGES, Run, copied, dvc, edit, results, stage, succeeded

from spikevaediff.evaluation.metrics import pixcorr
from spikevaediff.images import resize, rgb
from spikevaediff.records import Features, ImageSplit, Reconstructions, Responses, Stimuli

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished checkout, to be changed."""
    return copied(pristine, tmp_path_factory.mktemp("b") / "clone")


@pytest.fixture(scope="module")
def second(clone: Path, pristine: Path) -> Run:
    return succeeded(clone, "repro")


@pytest.fixture(scope="module")
def changed(clone: Path, second: Run) -> Run:
    return succeeded(clone, "exp", "run", "-S", "regress.vdvae.alpha_scope=global")


@pytest.fixture(scope="module")
def changed_back(clone: Path, changed: Run) -> Run:
    edit(clone / "params.yaml", {"regress.vdvae.alpha_scope": "target"})
    return succeeded(clone, "repro")


@pytest.fixture(scope="module")
def edited(clone: Path, changed_back: Run) -> Run:
    with (clone / "src/spikevaediff/evaluation/metrics/pixcorr.py").open("a") as file:
        file.write("\n\n_whole = correlation\n\n\ndef correlation(a, b):\n    return _whole(a, b) / 2\n")
    return succeeded(clone, "repro")


# ---- A fresh checkout, and what a change reruns


def test_a_fresh_checkout_runs_without_a_remote(clone: Path, first: Run) -> None:
    config = (clone / ".dvc" / "config").read_text()
    # Nothing is pushed to or pulled from by default; what may not be passed on has a folder of this machine.
    assert re.findall(r"(?m)^ *(remote|url) *= *(.*)$", config) == [("url", "tmp/not_shared")]
    assert first.ran == STAGES
    assert first.restored == set()
    assert {path.split("/")[0] for path in first.files} == {"artifacts", "metrics", "plots"}


def test_a_run_leaves_git_clean_but_for_its_results(clone: Path, first: Run) -> None:
    names = subprocess.run(
        ["git", "show", "--name-only", "--format=", "HEAD"], cwd=clone, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {name.split("/")[0] for name in names} == {"dvc.lock", "metrics", "plots"}


def test_a_second_run_does_nothing_and_is_quick(first: Run, second: Run) -> None:
    assert second.ran == second.restored == set()
    assert "Data and pipelines are up to date." in second.output
    assert second.files == first.files
    assert second.cpu_s < 5


def test_a_parameter_reruns_what_depends_on_it(first: Run, changed: Run) -> None:
    names = ("vdvae", "control")
    depend = {f"{stage}@{name}" for stage in ("regress", "decode", "evaluate") for name in names}
    halves = {"noise_ceiling@vdvae", "decode@half_a", "decode@half_b", "halves"}
    # Samples of the posterior are made of encoding models alone. With a share of 0, the regression leaves their mean
    # as it is, and so the second stage that starts from it.
    means = {"posterior_images@posterior", "posterior_images@posterior_control"}
    rest = means | {"start", "checks@vdvae", "checks@diffusion", "layers", "known_mistakes", "report"}
    assert changed.ran == depend | halves | rest
    assert changed.restored == set()
    different = {path for path in first.files if first.files[path] != changed.files[path]}
    assert {"metrics/metrics.json", "artifacts/predicted/vdvae.npz"} <= different
    assert not [path for path in different if re.search(r"(?<!noise_)ceiling|features", path)]


def test_a_parameter_changed_back_is_restored_and_not_computed(first: Run, changed: Run, changed_back: Run) -> None:
    # Statistics and page are outputs that Git keeps and DVC does not; they are written again from what is there.
    assert changed_back.ran == {"start", "report"}
    assert changed_back.restored == changed.ran - {"start", "report"}
    assert changed_back.files == first.files


def test_an_edit_of_a_metric_reruns_the_scores_and_the_report(clone: Path, pristine: Path, edited: Run) -> None:
    # Mistakes are scored by it, too; curves, movies and areas by a correlation that the edit leaves as it is.
    scored = {name for name in STAGES if name.startswith(("looks", "evaluate", "baselines", "halves", "checks"))}
    assert edited.ran == scored | {"start", "known_mistakes", "report"}
    before, after = (
        json.loads((folder / "metrics/metrics.json").read_text())["simulated"] for folder in (pristine, clone)
    )
    assert after["vdvae"]["pixcorr"] == pytest.approx(before["vdvae"]["pixcorr"] / 2, abs=2e-3)  # three digits
    assert after["vdvae"]["latent_correlation"] == before["vdvae"]["latent_correlation"]


def test_no_stage_depends_on_how_it_is_computed(pristine: Path, tmp_path: Path) -> None:
    copy = copied(pristine, tmp_path / "clone")
    edit(copy / "params.yaml", {"compute.batch_size": 5})
    assert "up to date" in succeeded(copy, "status").output


def test_results_do_not_depend_on_the_batch_size(pristine: Path, tmp_path: Path) -> None:
    copy = copied(pristine, tmp_path / "clone")
    edit(copy / "params.yaml", {"compute.batch_size": 5})
    for command in ("features vdvae", "decode vdvae vdvae artifacts/predicted/vdvae.npz", "evaluate vdvae"):
        done = stage(copy, command)
        assert done.returncode == 0, done.stderr
    before, after = (Features.load(folder / "artifacts/features/vdvae.npz").values for folder in (pristine, copy))
    assert np.abs(before - after).max() <= 1e-4 * np.abs(before).max()
    before, after = (
        Reconstructions.load(folder / "artifacts/decoded/vdvae").pixels.astype(int) for folder in (pristine, copy)
    )
    assert np.abs(before - after).max() <= 1  # rounding may tip a grey level
    assert (before != after).mean() < 1e-3
    means = [
        json.loads((folder / "artifacts/scores/vdvae.json").read_text())["metrics"]["pixcorr"]["mean"]
        for folder in (pristine, copy)
    ]
    assert means[0] == pytest.approx(means[1], abs=1e-4)


# ---- What the spikes say


@pytest.fixture(scope="module")
def fold(pristine: Path) -> np.ndarray:
    """Of the tested images."""
    fold = ImageSplit.load(pristine / "artifacts/split.npz").fold
    return fold[fold >= 0]


def matrix(pristine: Path, run: str) -> np.ndarray:
    """Pixel correlation of every shown image (rows) with every reconstruction (columns)."""
    decoded = Reconstructions.load(pristine / f"artifacts/decoded/{run}")
    shown = rgb(Stimuli.load(pristine / "artifacts/images.npz").rows(decoded.image_id))
    return pixcorr.of_images(resize(shown, 32), resize(decoded.pixels, 32))


def share_of_worse_pairings(scores: np.ndarray) -> float:
    """Share of 5,000 random pairings of images and reconstructions whose mean score is below that of the true one.

    Valid for the images of one fold: one fit that saw none of them predicted them all, so if the responses say nothing,
    any pairing is as likely as the true one. Across folds it is not: every image is left out of its own fold's mean.
    """
    rng, n = np.random.default_rng([11]), len(scores)
    means = [scores[np.arange(n), rng.permutation(n)].mean() for _ in range(5000)]
    return float((means < scores.diagonal().mean()).mean())


def members(fold: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(fold == k) for k in np.unique(fold)]


def test_reconstructions_from_spikes_are_better_than_wrong_pairings(pristine: Path, fold: np.ndarray) -> None:
    scores = matrix(pristine, "vdvae")
    shares = [share_of_worse_pairings(scores[np.ix_(rows, rows)]) for rows in members(fold)]
    assert min(shares) > 0.95


def test_the_control_is_among_wrong_pairings(pristine: Path, fold: np.ndarray) -> None:
    scores = matrix(pristine, "control")
    shares = [share_of_worse_pairings(scores[np.ix_(rows, rows)]) for rows in members(fold)]
    assert min(shares) > 0.001
    assert max(shares) < 0.999


def test_spikes_of_visual_areas_beat_the_control_and_stay_below_the_ceiling(pristine: Path) -> None:
    means = {run: matrix(pristine, run).diagonal().mean() for run in ("vdvae", "control", "ceiling")}
    assert means["control"] + 0.05 < means["vdvae"] < means["ceiling"]
    reported = json.loads((pristine / "metrics/metrics.json").read_text())["simulated"]
    for run, mean in means.items():
        assert reported[run]["pixcorr"] == pytest.approx(mean, abs=6e-4)  # three digits


# ---- Bad input: one clear line, nothing half-written


@pytest.fixture
def broken(pristine: Path, tmp_path: Path) -> Iterator[Path]:
    """A finished checkout to break."""
    yield copied(pristine, tmp_path / "clone")
    shutil.rmtree(tmp_path / "clone")


def refused(clone: Path, command: str, message: str, **options: Any) -> None:
    """Assert that a stage ends with this one line and leaves all results as they were."""
    before = results(clone)
    done = stage(clone, command, **options)
    assert done.returncode == 1, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert re.search(message, lines[0]), lines[0]
    assert results(clone) == before


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def session(clone: Path) -> Path:
    (path,) = (clone / "artifacts/sessions").glob("*.nwb")
    return path


def change_session(clone: Path, change: Callable[[h5py.File], None]) -> None:
    path = session(clone)
    replace(path, path.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)


def truncate(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    replace(path, content[: int(share * len(content))])


def spoil_spike(file: h5py.File) -> None:
    file["units/spike_times"][:] = np.nan


def drop_image(clone: Path) -> None:
    """images.npz without image 17, and a split and latents made of it."""
    stimuli = Stimuli.load(clone / "artifacts/images.npz")
    kept = stimuli.image_id != 17
    Stimuli(stimuli.source, stimuli.image_id[kept], stimuli.pixels[kept]).save(clone / "artifacts/images.npz")
    for made in ("split", "features vdvae"):
        assert stage(clone, made).returncode == 0


def drop_caption(clone: Path) -> None:
    path = clone / "artifacts/captions.csv"
    lines = path.read_text().splitlines(keepends=True)
    replace(path, "".join(line for line in lines if not line.startswith("17,")).encode())


def drop_presentations(clone: Path) -> None:
    """Responses in which image 3 was never shown."""
    path = clone / "artifacts/responses/visual.npz"
    r = Responses.load(path)
    kept = r.image_id != 3
    Responses.make(
        counts=r.counts[kept],
        image_id=r.image_id[kept],
        presentation_id=r.presentation_id[kept],
        session_id=r.session_id,
        window_s=r.window_s,
        units=r.units,
    ).save(path)


def params(changes: dict[str, Any]) -> Callable[[Path], None]:
    return lambda clone: edit(clone / "params.yaml", changes)


def renamed(old: str, new: str) -> Callable[[Path], None]:
    """Another name for a key of params.yaml."""

    def rename(clone: Path) -> None:
        path = clone / "params.yaml"
        text = path.read_text()
        assert text.count(f"  {old}:") >= 1
        replace(path, text.replace(f"  {old}:", f"  {new}:").encode())

    return rename


WEIGHTS = "vendor/data/weights/vdvae_mini.safetensors"
VISUAL, REGRESS, DECODE = (
    "responses visual",
    "regress vdvae vdvae visual",
    "decode vdvae vdvae artifacts/predicted/vdvae.npz",
)
# Of mistakes in params.yaml, one of each kind of refusal; tests/parameters/test_check.py has the others.
BAD: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "a truncated session": (
        VISUAL,
        lambda c: truncate(session(c)),
        r"\.nwb is not a whole HDF5 file .* get it again: dvc repro acquire",
    ),
    "a session without a column": (
        VISUAL,
        lambda c: change_session(c, lambda file: file.__delitem__("units/presence_ratio")),
        r"\.nwb has no /units/presence_ratio. Expected the layout of an Allen",
    ),
    "a spike time that is NaN": (
        VISUAL,
        lambda c: change_session(c, spoil_spike),
        r"unit \d+ has \d+ spike times that are not finite",
    ),
    "no session": (VISUAL, lambda c: session(c).unlink(), r"holds no session .* Make one with: dvc repro acquire"),
    "an area that does not exist": (
        VISUAL,
        params({"areas.visual": ["VISp", "VISq"]}),
        r"no unit in VISq. Units that pass .* VISp 93/.* Choose areas among these",
    ),
    "a misspelt key of responses": (
        VISUAL,
        renamed("n_bins", "n_bin"),
        r"section responses has n_bin, which does not exist. Its keys are .*; did you mean n_bins\?",
    ),
    "a data set that does not exist": (
        "acquire",
        params({"dataset": "simulatd"}),
        r"params.yaml has no datasets.simulatd; datasets has simulated",
    ),
    "truncated images": (
        "split",
        lambda c: truncate(c / "artifacts/images.npz"),
        r"images.npz is damaged .* Delete it and run: dvc repro",
    ),
    "more folds than images": (
        "split",
        params({"split.method": "k_fold", "split.n_folds": 500}),
        r"n_folds is 500, expected 2 to 118",
    ),
    "an image that a session showed is missing": (
        REGRESS,
        drop_image,
        r"images.npz lacks image_id 17 \(1 of 118 that the sessions show\).* dvc repro acquire",
    ),
    "an image that no session showed": (
        REGRESS,
        drop_presentations,
        r"responses/visual.npz lacks image_id 3 \(1 of 118 that artifacts/images.npz holds\)",
    ),
    "a truncated weight file": (
        "features vdvae",
        lambda c: truncate(c / WEIGHTS),
        r"weight file .*vdvae_mini.safetensors is damaged or of another format .* Fetch or restore it again",
    ),
    "a corrupt weight file": (
        "features vdvae",
        lambda c: replace(c / WEIGHTS, b"\xff" * 1000),
        r"weight file .*vdvae_mini.safetensors is damaged or of another format",
    ),
    "an image without a caption": (
        "features text",
        drop_caption,
        r"captions.csv lacks image_id 17 \(1 of 118 asked for\)",
    ),
    "the weights of another network": (
        "features vision",
        params({"models.mini.vision.weights": WEIGHTS}),
        r"weight file .*vdvae_mini.safetensors is not EfficientNet-lite0",
    ),
    "truncated predictions": (
        DECODE,
        lambda c: truncate(c / "artifacts/predicted/vdvae.npz"),
        r"vdvae.npz is damaged .* Delete it and run: dvc repro",
    ),
    "an image that is cut off": (
        "evaluate vdvae",
        lambda c: truncate(c / "artifacts/decoded/vdvae/0042.png"),
        r"0042.png is damaged .* Delete artifacts/decoded/vdvae and run: dvc repro",
    ),
    "a reconstruction is missing": (
        "evaluate vdvae",
        lambda c: (c / "artifacts/decoded/vdvae/0042.png").unlink(),
        r"Reconstructions lacks image_id 42 \(1 of 24 asked for\)",
    ),
    "a truncated study": (
        "report",
        lambda c: truncate(c / "artifacts/layers.npz"),
        r"layers.npz is damaged .* Delete it and run: dvc repro",
    ),
    "a ranking by a metric that was not computed": (
        "report",
        params({"report.rank_by": "ssim"}),
        r"report.rank_by is 'ssim', but there are scores of: pixcorr",
    ),
    "truncated scores": (
        "report",
        lambda c: truncate(c / "artifacts/scores/control.json"),
        r"control.json is damaged .* Delete it and run: dvc repro",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_answered_with_one_clear_line_and_nothing_half_written(case: str, broken: Path) -> None:
    command, spoil, message = BAD[case]
    spoil(broken)
    refused(broken, command, message)


def test_dvc_stops_at_a_refusal_and_goes_on_when_it_is_cured(broken: Path) -> None:
    lock = (broken / "dvc.lock").read_bytes()
    edit(broken / "params.yaml", {"regress.vdvae.alphas": [-1.0]})
    run = dvc(broken, "repro", "--single-item", "regress@vdvae")
    assert run.code != 0
    assert (
        "ValueError: params.yaml: regress.vdvae.alphas is [-1.0], expected a list of one or more, each a number, ab"
        in run.output
    )
    assert "failed to reproduce 'regress@vdvae'" in run.output
    assert (broken / "dvc.lock").read_bytes() == lock


def test_a_folder_that_may_not_be_written_is_named(broken: Path) -> None:
    folder = broken / "artifacts/responses"
    # Root may write wherever permissions forbid it, but not where the file system does.
    lock, unlock = (["chattr", "+i"], ["chattr", "-i"]) if os.geteuid() == 0 else (["chmod", "a-w"], ["chmod", "u+w"])
    if subprocess.run([*lock, folder], capture_output=True, check=False).returncode:
        pytest.skip("root on a file system without immutable folders")
    try:
        refused(broken, VISUAL, r"PermissionError: .*(not permitted|denied): .*responses")
    finally:
        subprocess.run([*unlock, folder], check=True)


def test_a_file_where_a_folder_belongs_is_named(broken: Path) -> None:
    shutil.rmtree(broken / "artifacts/responses")
    (broken / "artifacts/responses").write_text("a file")
    refused(broken, VISUAL, r"FileExistsError: .*File exists: 'artifacts/responses'")


def test_a_file_that_outgrows_its_limit_is_named_and_removed(broken: Path) -> None:
    # In blocks of 1 kB: DVC's own files are smaller, counts are larger. By way of a shell, since forking the process
    # that runs the tests, full of JAX's threads, is not safe.
    under = ("bash", "-c", 'ulimit -f 300; exec "$@"', "bash")
    refused(broken, VISUAL, r"OSError: .*File too large: 'artifacts/responses/visual.npz'", under=under)


@pytest.mark.parametrize(
    ("command", "path", "size"),
    [
        (VISUAL, "artifacts/responses", "200k"),
        ("acquire", "artifacts/sessions", "200k"),
        (DECODE, "artifacts/decoded", "40k"),
    ],
)
def test_a_full_disk_is_named_and_left_as_empty_as_before(broken: Path, command: str, path: str, size: str) -> None:
    folder = broken / path
    shutil.rmtree(folder)
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        refused(broken, command, rf"OSError: .*No space left on device.*{path}")
        assert list(folder.iterdir()) == []
    finally:
        subprocess.run(["umount", folder], check=True)
