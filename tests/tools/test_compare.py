"""The page that a reviewer reads: two real commits compared, from Git alone."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from ruamel.yaml import YAML
from scipy import stats
from small_profile import cloned, commit, edit

from spikevaediff.__main__ import main
from spikevaediff.tools import compare

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two commits between which a metric, a parameter and a picture change."""
    folder = tmp_path_factory.mktemp("two") / "repository"
    for name in ("metrics", "plots", ".dvc"):
        (folder / name).mkdir(parents=True)
    (folder / ".dvc/config").write_text("[core]\n    analytics = false\n")
    (folder / "dvc.yaml").write_text("metrics:\n- metrics/metrics.json\nparams:\n- params.yaml\n")
    (folder / "metrics/metrics.json").write_text('{"simulated": {"vdvae": {"pixcorr": 0.25, "ssim": 0.5}}}\n')
    (folder / "params.yaml").write_text("regress:\n  alpha_scope: target\nseed: 0\n")
    (folder / "plots/gallery.png").write_bytes(b"old")
    (folder / "plots/same.png").write_bytes(b"same")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    commit(folder, "base")
    (folder / "metrics/metrics.json").write_text('{"simulated": {"vdvae": {"pixcorr": 0.375, "ssim": 0.5}}}\n')
    edit(folder / "params.yaml", {"regress.alpha_scope": "group"})
    (folder / "plots/gallery.png").write_bytes(b"new")
    (folder / "plots/more.png").write_bytes(b"more")
    commit(folder, "head")
    return folder


def revision(folder: Path, name: str) -> str:
    return subprocess.run(["git", "rev-parse", name], cwd=folder, capture_output=True, text=True).stdout.strip()


def test_the_page_shows_metrics_parameters_and_pictures_that_differ(two: Path) -> None:
    text = compare.page("HEAD~1", "HEAD", two, url="https://github.com/o/n/raw")
    assert text.startswith(compare.MARK)
    row = next(line for line in text.splitlines() if "pixcorr" in line)
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "metrics/metrics.json",
        "simulated.vdvae.pixcorr",
        "0.25",
        "0.375",
        "0.125",
    ]
    assert "ssim" not in text
    row = next(line for line in text.splitlines() if "alpha_scope" in line)
    assert [cell.strip() for cell in row.split("|")[-3:-1]] == ["target", "group"]
    for name in ("HEAD~1", "HEAD"):
        assert f"![plots/gallery.png](https://github.com/o/n/raw/{revision(two, name)}/plots/gallery.png)" in text
    assert "| not there | ![plots/more.png]" in text
    assert "same.png" not in text


IDS = range(60)
NOISE = np.random.default_rng([5]).normal(0, 0.05, (4, 60))


def with_scores(
    folder: Path,
    scores: dict[tuple[str, str], np.ndarray],
    ids: Iterable[int] = IDS,
    name: str = "simulated",
    protocol: str = "strict",
) -> None:
    """A commit with scores of single images, as the report writes them."""
    metrics = {
        "pixcorr": {"larger_is_better": True, "network": None},
        "lpips": {"larger_is_better": False, "network": "AlexNet"},
        "alexnet2": {"larger_is_better": True, "network": "AlexNet"},
    }
    settings = {"n_draws": 2000, "seed": 0}
    evidence = {"protocol": protocol, "n_folds": 10, "settings": settings, "metrics": metrics}
    (folder / "metrics/statistics.json").write_text(json.dumps({name: evidence}))
    lines = ["run,image_id,pixcorr,lpips,alexnet2"]
    for run in dict.fromkeys(run for run, _ in scores):
        for place, image_id in enumerate(ids):
            values = [f"{scores[run, metric][place]:.4f}" if (run, metric) in scores else "" for metric in metrics]
            lines.append(",".join([run, str(image_id), *values]))
    (folder / "plots/scores.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def scored(two: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "scored"
    shutil.copytree(two, folder)
    before = {("posterior", name): np.linspace(0.2, 0.8, 60) for name in ("pixcorr", "lpips", "alexnet2")}
    with_scores(folder, before)
    commit(folder, "base of scores")
    changes = (0.1 + NOISE[0], 0.1 + NOISE[1], NOISE[2] - NOISE[2].mean())
    with_scores(folder, {key: old + by for (key, old), by in zip(before.items(), changes, strict=True)})
    commit(folder, "head of scores")
    return folder


def test_the_verdict_says_which_scores_changed_beyond_noise(scored: Path) -> None:
    text = compare.page("HEAD~1", "HEAD", scored)
    verdict = next(line for line in text.splitlines() if line.startswith("**Beyond noise"))
    assert verdict.startswith("**Beyond noise: 1 better, 1 worse**, of 3 scores compared image by image")
    assert text.index(verdict) < text.index("#### Pictures") < text.index("#### Metrics")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "| posterior |" in line]
    assert [(row[1], row[-1]) for row in rows] == [
        ("lpips ↓", "**worse**"),
        ("pixcorr ↑", "**better**"),
        ("alexnet2 ↑", "within noise"),
    ]
    paired = np.round(np.linspace(0.2, 0.8, 60) + 0.1 + NOISE[0], 4) - np.round(np.linspace(0.2, 0.8, 60), 4)
    assert float(rows[1][4]) == pytest.approx(paired.mean(), abs=6e-4)
    expected = stats.bootstrap((paired,), np.mean, n_resamples=20_000, method="BCa", rng=0).confidence_interval
    # Ten folds: stretched about the mean by the root of 1 + 10 / 9.
    low, high = map(float, rows[1][5].split(" to "))
    for found, bound in ((low, expected.low), (high, expected.high)):
        assert found == pytest.approx(paired.mean() + (1 + 10 / 9) ** 0.5 * (bound - paired.mean()), abs=2e-3)


def test_scores_that_are_the_same_have_not_changed(scored: Path) -> None:
    assert "**No score changed**, of 3 that were compared image by image." in compare.page("HEAD", "HEAD", scored)


def test_runs_and_metrics_that_the_head_lacks_are_named(scored: Path) -> None:
    kept = {("posterior", "pixcorr"): np.full(60, 0.5)}
    with_scores(scored, kept | {("vdvae", "pixcorr"): np.full(60, 0.5), ("posterior", "lpips"): np.full(60, 0.5)})
    commit(scored, "more")
    with_scores(scored, kept)
    commit(scored, "fewer")
    text = compare.page("HEAD~1", "HEAD", scored)
    said = (
        "The head has no scores of these runs of the base: vdvae. The head has no scores of these metrics of the base: "
    )
    assert f"**No score changed**, of 1 that were compared image by image. {said}lpips." in text


def test_scores_of_other_images_are_not_compared(scored: Path) -> None:
    other = {("posterior", name): np.full(60, 0.5) for name in ("pixcorr", "lpips", "alexnet2")}
    with_scores(scored, other, ids=range(1, 61))
    commit(scored, "other images")
    assert "**Not comparable**: the two commits scored different images." in compare.page("HEAD~1", "HEAD", scored)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"name": "allen"}, "simulated, protocol strict, those of the head of allen, protocol strict"),
        ({"name": "simulated (protocol mindeye)", "protocol": "mindeye"}, "of the head of simulated, protocol mindeye"),
        (
            {"name": "simulated (legacy: trained on images that look like tested ones)"},
            "of the head of simulated, protocol strict, legacy: trained on images that look like tested ones.",
        ),
    ],
)
def test_scores_of_other_data_or_another_protocol_are_not_compared(scored: Path, told: dict, said: str) -> None:
    """Images of two data sets may have the same ids."""
    with_scores(scored, {("posterior", name): np.full(60, 0.5) for name in ("pixcorr", "lpips", "alexnet2")}, **told)
    commit(scored, "other scores")
    text = compare.page("HEAD~1", "HEAD", scored)
    assert "**Not comparable**: scores of the base are of simulated" in text
    assert said in text
    assert "Beyond noise" not in text


def test_without_scores_of_single_images_no_change_has_an_interval(two: Path) -> None:
    assert "**Not known**: scores of single images are not in both commits" in compare.page("HEAD~1", "HEAD", two)


def test_comparing_needs_no_more_than_the_workflow_installs() -> None:
    workflow = YAML(typ="safe").load(ROOT / ".github/workflows/compare.yaml")["jobs"]["compare"]
    paths = os.pathsep.join(str(ROOT / name) for name in workflow["env"]["PYTHONPATH"].split(":"))
    (installing,) = [step["run"] for step in workflow["steps"] if "pip install" in step.get("run", "")]
    installed = {word.lower() for word in installing.partition("constraints.txt")[2].partition("#")[0].split()}
    assert installed == {"dvc", "filelock", "jinja2", "numpy", "platformdirs", "psutil", "rich", "scipy"}
    code = (
        "import sys, spikevaediff.__main__, spikevaediff.tools.compare;"
        "print(*{name.split('.')[0] for name, module in sys.modules.items()"
        " if 'site-packages' in (getattr(module, '__file__', None) or '')})"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path[:0] = {paths.split(os.pathsep)!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"torch", "jax", "transformers", "matplotlib", "PIL", "h5py", "sklearn", "skimage", "safetensors", "optax"}
    assert not heavy & set(done.stdout.split())


def test_without_an_address_pictures_are_named(two: Path) -> None:
    assert "- `plots/gallery.png` differs\n- `plots/more.png` differs" in compare.page("HEAD~1", "HEAD", two)


def test_equal_commits_are_said_to_be_equal(two: Path) -> None:
    text = compare.page("HEAD", "HEAD", two)
    for what in ("No metric differs.", "No parameter differs.", "No picture differs."):
        assert what in text


def test_a_revision_that_a_shallow_clone_lacks_is_named_with_the_cure(two: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", two.as_uri(), tmp_path / "clone"], check=True)
    with pytest.raises(ValueError, match=r"'origin/no' is neither a revision that Git knows .* git fetch --unshallow$"):
        compare.page("origin/no", "HEAD", tmp_path / "clone")


def test_an_experiment_is_named_as_dvc_names_it(two: Path, tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    shutil.copytree(two, folder)
    head = revision(folder, "HEAD")
    subprocess.run(["git", "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/finer", "HEAD~1"], cwd=folder, check=True)
    assert compare.page("finer", "HEAD", folder) == compare.page("HEAD~1", "HEAD", folder).replace("HEAD~1", "finer")
    with pytest.raises(
        ValueError, match=r"'best' is neither a revision that Git knows nor an experiment of DVC; .* finer$"
    ):
        compare.page("best", "HEAD", folder)
    other = revision(folder, "HEAD~1")
    subprocess.run(["git", "update-ref", f"refs/exps/{other[:2]}/{other[2:]}/finer", "HEAD"], cwd=folder, check=True)
    with pytest.raises(ValueError, match=r"2 experiments are named 'finer'. Name the commit: dvc exp show --sha"):
        compare.page("finer", "HEAD", folder)


def test_a_revision_cannot_be_an_option(two: Path) -> None:
    with pytest.raises(
        ValueError, match=r"'--output=x' is neither a revision that Git knows nor an experiment of DVC$"
    ):
        compare.page("--output=x", "HEAD", two)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_checkout_of_another_user_is_not_taken_for_a_shallow_clone(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkout"
    shutil.copytree(two, folder)
    for path in (folder, folder / ".git"):
        os.chown(path, 65534, 65534)
    says = rf"^Git cannot read {folder}: fatal: detected dubious ownership .* --add safe.directory {folder}$"
    with pytest.raises(ValueError, match=says):
        compare.page("HEAD~1", "HEAD", folder)


def test_where_there_is_no_repository_git_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^Git cannot read {tmp_path}: fatal: not a git repository"):
        compare.page("HEAD~1", "HEAD", tmp_path)


def test_the_command_writes_a_file_or_prints(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(two)
    assert main(["compare", "HEAD~1", "--out", str(tmp_path / "page.md")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'page.md'}\n"
    assert main(["compare", "HEAD~1"]) == 0
    assert capsys.readouterr().out == (tmp_path / "page.md").read_text()
    assert main(["compare"]) == 2
    assert "name the revision to compare with" in capsys.readouterr().err
    assert main(["compare", "nowhere"]) == 1


@pytest.mark.slow
def test_a_lock_older_than_code_or_parameters_is_stale_even_in_a_clone_without_data(
    pristine: Path, tmp_path: Path
) -> None:
    clone = cloned(pristine, tmp_path)
    assert compare.stale(clone) == []
    with (clone / "src/spikevaediff/analysis/curves.py").open("a") as file:
        file.write("# another line\n")
    edit(clone / "params.yaml", {"split.seed": 7})
    of_run = {path.name: path.read_bytes() for path in (clone / "artifacts/code").iterdir()}
    found = compare.stale(clone)
    assert {"curves", "split"} <= set(found)  # curves read no split, and no code of `split` has changed
    # What is there is still that of the run, with which `dvc status` compares dvc.lock.
    assert {path.name: path.read_bytes() for path in (clone / "artifacts/code").iterdir()} == of_run
    assert "captions" not in found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_pins_its_actions_and_asks_for_least_rights(path: Path) -> None:
    text, workflow = path.read_text(), YAML(typ="safe").load(path)
    used = re.findall(r"uses: (\S+)", text)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), f"{action} is not pinned to a commit"
    assert "pull_request_target" not in text  # which would run a fork's code with the rights of this repository
    assert "persist-credentials: false" in text
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for job in workflow["jobs"].values():
        assert set(job.get("permissions", {}).items()) <= {("contents", "read"), ("pull-requests", "write")}
        for step in job["steps"]:
            # Values from outside reach the shell as variables, never as text of the script.
            assert "${{" not in step.get("run", ""), step["run"]
