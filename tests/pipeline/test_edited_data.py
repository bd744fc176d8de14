"""What an edit of vendor/data does to every kind of run, and that no run shows numbers which it did not compute.

The data set is a small folder of plain files; runs go no further than the stages that read it.
"""

import csv
import io
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
from conftest import ROOT
from ruamel.yaml import YAML
from small_profile import Run, cloned, commit, copied, dvc, edit, environment, succeeded
from test_plain import OPTIONS, folder_of

from spikevaediff.records import Captions
from spikevaediff.tools import doctor

pytestmark = pytest.mark.slow

KINDS = ("repro", "in place", "temp", "queue")


@pytest.fixture(scope="module")
def prepared(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone, made without a remote, in which the data set `mine` was read and the results were committed."""
    clone = cloned(source, tmp_path_factory.mktemp("prepared"))
    folder_of(clone / "vendor/data")
    section = {"module": "plain"} | OPTIONS
    edit(
        clone / "params.yaml",
        {"dataset": "mine", "datasets.mine": section, "datasets.other": deepcopy(section), "areas.visual": ["V4"]}
        | {"areas.control": "shuffled", "responses.start_s": 0.05, "responses.duration_s": 0.1}
        | {"responses.min_units": 1, "split.n_test": 2},
    )
    succeeded(clone, "repro", "acquire")
    commit(clone, "Results")
    assert doctor.imported_data(clone).state == "fine"
    return clone


@pytest.fixture
def clone(prepared: Path, tmp_path: Path) -> Path:
    return copied(prepared, tmp_path / "clone")


def run(clone: Path, kind: str, *settings: str, check: Callable[..., Run] = succeeded) -> Run:
    """Run the stage that reads the data, and what comes before it."""
    flags = [word for setting in settings for word in ("-S", setting)]
    if kind == "repro":
        edit(clone / "params.yaml", dict(setting.split("=") for setting in settings))
        return check(clone, "repro", "acquire")
    extra = {"in place": [], "temp": ["--temp"], "queue": ["--queue"]}[kind]
    done = check(clone, "exp", "run", "--name", "tried", *extra, *flags, "acquire")
    if kind != "queue":
        return done
    succeeded(clone, "queue", "start")
    deadline = time.monotonic() + 300
    # Asking DVC takes two seconds of the processors that the experiment needs, so Git is asked until there is a result.
    while not re.search(r"/tried$|celery/failed", git(clone, "for-each-ref", "--format=%(refname)", "refs/exps"), re.M):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    while "success" not in (status := succeeded(clone, "queue", "status").output.lower()):
        assert "failed" not in status, dvc(clone, "queue", "logs", "tried").output
        assert time.monotonic() < deadline, status
        time.sleep(1)
    return succeeded(clone, "queue", "logs", "tried")


def describe(folder: Path, caption: str) -> None:
    """Another caption for the first picture."""
    path = folder / "images.csv"
    text = path.read_text()
    assert text.count("Picture 0, a thing.") == 1
    path.write_text(text.replace("Picture 0, a thing.", caption))


def first_caption(clone: Path, kind: str) -> str:
    """That of the workspace; of a run elsewhere what its dvc.lock names and the cache keeps."""
    path = clone / "artifacts/captions_given.csv"
    if kind in ("temp", "queue"):
        refs = git(clone, "for-each-ref", "--format=%(refname)", "refs/exps")
        (ref,) = (ref for ref in refs.split() if ref.endswith("/tried"))
        lock = YAML(typ="safe").load(git(clone, "show", f"{ref}:dvc.lock"))
        (out,) = (out for out in lock["stages"]["acquire"]["outs"] if out["path"] == "artifacts/captions_given.csv")
        path = clone / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]
    captions = Captions.load(path)
    return captions.sentences[captions.image_id.tolist().index(0)][0]


def git(clone: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=clone, env=environment(clone.parent), stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_of_the_data_counts_in_every_kind_of_run(kind: str, clone: Path) -> None:
    describe(clone / "vendor/data/mine", "Edited.")
    run(clone, kind)
    assert first_caption(clone, kind) == "Edited."
    assert "Edited." in (clone / "vendor/data/mine/images.csv").read_text()
    if kind == "in place":  # after which data.dvc is not to be believed: the doctor looks at the files
        assert succeeded(clone, "status", "data.dvc").output == "Data and pipelines are up to date.\n"
        assert doctor.imported_data(clone).cure == "dvc repro -f data.dvc"
        succeeded(clone, "repro", "-f", "data.dvc")
    if kind in ("in place", "repro"):
        assert doctor.imported_data(clone).state == "fine"


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_folder_of_data_counts_in_every_kind_of_run(kind: str, clone: Path) -> None:
    new = clone / "vendor/data/other"
    shutil.copytree(clone / "vendor/data/mine", new)
    describe(new, "Another.")
    git(clone, "add", "vendor/data/other")
    assert "data set other" in run(clone, kind, "dataset=other").output
    assert first_caption(clone, kind) == "Another."
    assert "Another." in (new / "images.csv").read_text()


def test_a_folder_that_dvc_tracks_counts_outside_the_workspace(clone: Path) -> None:
    new = clone / "vendor/data/other"
    shutil.copytree(clone / "vendor/data/mine", new)
    describe(new, "Large.")
    succeeded(clone, "add", "vendor/data/other")
    run(clone, "temp", "dataset=other")
    assert first_caption(clone, "temp") == "Large."


def test_a_link_to_data_elsewhere_counts_outside_the_workspace(clone: Path, tmp_path: Path) -> None:
    shutil.copytree(clone / "vendor/data/mine", tmp_path / "elsewhere")
    describe(tmp_path / "elsewhere", "Far away.")
    (clone / "vendor/data/other").symlink_to(tmp_path / "elsewhere")
    git(clone, "add", "vendor/data/other")
    run(clone, "temp", "dataset=other")
    assert first_caption(clone, "temp") == "Far away."


def test_a_folder_that_git_does_not_know_counts_in_place_and_is_named_elsewhere(clone: Path) -> None:
    new = clone / "vendor/data/other"
    shutil.copytree(clone / "vendor/data/mine", new)
    describe(new, "Another.")
    refused = run(clone, "temp", "dataset=other", check=dvc)
    assert refused.code != 0
    assert "Git does not track vendor/data/other/images.csv, vendor/data/other/images/a.png" in refused.output
    assert "git add vendor/data/other" in refused.output
    assert "Traceback" not in refused.output
    run(clone, "in place", "dataset=other")
    assert first_caption(clone, "in place") == "Another."


def test_data_put_back_are_restored(clone: Path) -> None:
    describe(clone / "vendor/data/mine", "Edited.")
    run(clone, "in place")
    git(clone, "checkout", "--quiet", "vendor/data")
    back = run(clone, "repro")
    assert first_caption(clone, "repro") == "Picture 0, a thing."
    assert (back.ran, back.restored) == ({"start"}, {"acquire"})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "dataset=simulatd",
            "dataset is 'simulatd', expected a section of datasets: simulated, allen, cowley_v4, nsd, tvsd, mine",
        ),
        (
            "regress.text.method=rigde",
            "regress.text.method is 'rigde', expected a module of src/spikevaediff/regression/methods: banded, ",
        ),
    ],
)
def test_a_name_that_nothing_has_is_refused_before_anything_runs(setting: str, message: str, clone: Path) -> None:
    refused = dvc(clone, "exp", "run", "-S", setting)
    assert refused.code != 0
    assert message in refused.output
    assert refused.ran == {"start"}


# ---- Numbers that were not computed


def shown(clone: Path) -> dict[str, str]:
    """PixCorr of the first stage in every row of `dvc exp show`."""
    table = csv.DictReader(io.StringIO(succeeded(clone, "exp", "show", "--csv").output))
    names = ((row["Experiment"] or ("workspace" if row["rev"] == "workspace" else "HEAD"), row) for row in table)
    return {name: row["simulated.vdvae.pixcorr"] for name, row in names}


def test_a_run_of_one_target_shows_no_number_of_the_run_before(clone: Path) -> None:
    for folder in ("metrics", "plots"):
        shutil.copytree(ROOT / folder, clone / folder, dirs_exist_ok=True)
    commit(clone, "Numbers of a whole run")
    done = succeeded(clone, "exp", "run", "--name", "partial", "-S", "datasets.mine.size_px=24", "acquire")
    assert done.ran == {"start", "acquire"}, done.output
    assert done.files.keys() == {path for path in done.files if path.startswith("artifacts/")}
    # The same out of the run-cache: none of our code runs but the first stage.
    git(clone, "checkout", "--quiet", ".")
    succeeded(clone, "checkout", "acquire")
    assert (clone / "metrics/metrics.json").is_file()
    again = succeeded(clone, "exp", "run", "--temp", "--name", "again", "-S", "datasets.mine.size_px=24", "acquire")
    assert (again.ran, again.restored) == ({"start"}, {"acquire"})
    # An edit of code that decides a number is no less a change.
    with (clone / "src/spikevaediff/analysis/layers.py").open("a") as file:
        file.write("\n# An edit.\n")
    edited = succeeded(clone, "exp", "run", "--name", "edited", "acquire")
    assert edited.ran == {"start"}
    before = json.loads((ROOT / "metrics/metrics.json").read_text(encoding="utf-8"))["simulated"]["vdvae"]["pixcorr"]
    none = dict.fromkeys(("partial", "again", "edited", "workspace"), "!")
    assert shown(clone) == none | {"HEAD": str(before)}
    assert doctor.stale_experiments(clone).state == "fine"
