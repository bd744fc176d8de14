"""Two commits compared as one Markdown page, verdict and pictures first: `spikevaediff compare BASE [HEAD]`.

The verdict says which scores changed beyond noise: both commits keep the score of every image (plots/scores.csv), so
the difference of each is known image by image, and the interval of its mean. Other numbers are compared without one.

The page is what a reviewer needs before merging; .github/workflows/compare.yaml posts it under a pull request, and
anybody can make it by hand. Everything comes from Git: no data, no cache and no run are needed.
"""

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

import spikevaediff
from spikevaediff.evaluation.statistics import (
    interval_of_mean,
    interval_of_paired_proportions,
    resampled,
    spread_of_intervals,
)
from spikevaediff.files.atomic import replacing
from spikevaediff.files.weights_used import write_weights
from spikevaediff.parameters.declared import of_all_stages
from spikevaediff.parameters.file import read
from spikevaediff.parameters.reached import write_code
from spikevaediff.tools.shell import cause, run

MARK = "<!-- spikevaediff compare -->"  # by which the one comment is found again
TEMPLATES = Path(spikevaediff.__file__).parent / "report/templates"
# Identification is a mean over pairs of images, of which plots/scores.csv keeps the means over competitors alone. On
# the embedded session, 15 pairs of runs, what an image adds as a competitor widens paired differences by up to a tenth.
OF_COMPETITORS = 1.1


def page(base: str, head: str, root: Path, *, url: str | None = None) -> str:
    """Markdown of the differences between two commits.

    Parameters
    ----------
    base, head : str
        Revisions that Git knows.
    root : Path
        Top of the checkout.
    url : str or None
        Where raw files of a commit are served, "https://github.com/OWNER/NAME/raw" or
        "https://gitlab.com/GROUP/NAME/-/raw": the pictures of both commits stand side by side. None: they are named.

    Raises
    ------
    ValueError
        A revision is not known (a shallow clone has only its last commit), or Git or DVC cannot read one of them.
    """
    commits = {name: _commit(name, root) for name in (base, head)}
    short = {name: commit[:7] for name, commit in commits.items()}
    changes, verdict = _changes(root, commits[base], commits[head])
    pictures: list[dict[str, str | None]] = []
    for path in _changed_pictures(root, commits[base], commits[head]):
        old, new = (url and _picture(url, commits[name], path, root) for name in (base, head))
        pictures.append({"path": path, "base": old, "head": new})
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,  # Markdown of this project's own names and numbers
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("compare.md").render(
        mark=MARK,
        base=short[base],
        head=short[head],
        verdict=verdict,
        changes=changes,
        metrics=_rows(_dvc(root, "metrics", "diff", commits[base], commits[head], "--md"), commits),
        params=_rows(_dvc(root, "params", "diff", commits[base], commits[head], "--md"), commits),
        pictures=pictures,
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _changes(root: Path, base: str, head: str) -> tuple[list[dict[str, Any]], str]:
    """What changed of the scores of single images, beyond noise first, and a verdict on it."""
    told_base, told = (_shown(root, commit, "metrics/statistics.json") for commit in (base, head))
    old, new = (_scores(_shown(root, commit, "plots/scores.csv")) for commit in (base, head))
    if told_base is None or told is None or not old or not new:
        return [], "**Not known**: scores of single images are not in both commits, so that no change has an interval."
    ((_, evidence),) = json.loads(told).items()
    if (kind_base := _kind(told_base)) != (kind := _kind(told)):
        return [], f"**Not comparable**: scores of the base are of {kind_base}, those of the head of {kind}."
    rows = [
        _change(evidence, run, metric, old[run, metric], new[run, metric])
        for run, metric in new
        if (run, metric) in old
    ]
    if None in rows:
        return [], "**Not comparable**: the two commits scored different images."
    compared = [row for row in rows if row is not None]
    counts = {word: [row for row in compared if row["says"] == word] for word in ("**better**", "**worse**")}
    changes = [*counts["**worse**"], *counts["**better**"], *(row for row in compared if row["says"] == "within noise")]
    n, gone = len(compared), _gone(set(old), set(new))
    if not changes:
        return [], f"**No score changed**, of {n} that were compared image by image.{gone}"
    better, worse = len(counts["**better**"]), len(counts["**worse**"])
    if not better and not worse:
        return (
            changes,
            f"**No change beyond noise**: of {n} scores, {len(changes)} differ, all within their 95 % intervals.{gone}",
        )
    verdict = f"**Beyond noise: {better} better, {worse} worse**, of {n} scores compared image by image"
    return (
        changes,
        f"{verdict} (95 % intervals of paired differences; about {n * 0.05:.1f} of {n} would be expected by chance)."
        + gone,
    )


def _gone(old: set[tuple[str, str]], new: set[tuple[str, str]]) -> str:
    """Which runs and metrics of the base the head has no scores of."""
    said = ""
    for which, column in (("runs", 0), ("metrics", 1)):
        if missing := sorted({key[column] for key in old} - {key[column] for key in new}):
            said += f" The head has no scores of these {which} of the base: {', '.join(missing)}."
    return said


def _kind(statistics: str) -> str:
    """What scores are of, which none can be compared without: the data set, the protocol, the size of pixels, and what
    makes scores too good (report.results.marks_of)."""
    ((name, evidence),) = json.loads(statistics).items()
    size = f", {evidence['settings']['size_px']} px" if evidence["settings"].get("size_px") else ""
    legacy = "".join(f", {mark}" for mark in re.findall(r"legacy: [^)]+", name))
    return f"{name.partition(' (')[0]}, protocol {evidence.get('protocol', 'strict')}{size}{legacy}"


def _change(
    evidence: dict[str, Any], run: str, metric: str, old: dict[int, float], new: dict[int, float]
) -> dict[str, Any] | None:
    """Mean difference of the scores of the same images with its interval; None where they are not the same images."""
    if set(old) != set(new):
        return None
    ids = sorted(old)
    one, two = (np.array([of[i] for i in ids]) for of in (old, new))
    value, about = two - one, evidence["metrics"].get(metric, {})
    spread = spread_of_intervals(np.arange(evidence["n_folds"]))
    if set(np.unique([one, two])) <= {0.0, 0.5, 1.0}:
        low, high = interval_of_paired_proportions(value, spread)
    else:
        settings = evidence["settings"]
        counts = resampled(len(ids), n_draws=settings["n_draws"], seed=settings["seed"])
        pairs = about.get("network") is not None and about.get("larger_is_better", True)
        low, high = interval_of_mean(value, counts, spread * (OF_COMPETITORS if pairs else 1.0))
    up = about.get("larger_is_better", True)
    says = "unchanged" if not value.any() else "within noise"
    if says == "within noise" and (low > 0 or high < 0):
        says = "**better**" if (low > 0) == up else "**worse**"
    row = {"run": run, "metric": f"{metric} {'↑' if up else '↓'}", "base": one.mean(), "head": two.mean()}
    return row | {"mean": value.mean(), "low": low, "high": high, "says": says}


def _scores(text: str | None) -> dict[tuple[str, str], dict[int, float]]:
    """(run, metric) -> image_id -> score of plots/scores.csv; empty where it is not there or older than its columns."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for row in csv.DictReader(io.StringIO(text or "")):
        if "run" not in row or "image_id" not in row:
            return {}
        for metric, value in row.items():
            if metric not in ("run", "image_id") and value:
                found.setdefault((row["run"], metric), {})[int(row["image_id"])] = float(value)
    return found


def _shown(root: Path, commit: str, path: str) -> str | None:
    """A file of a commit, None where it has none."""
    query = ["git", "show", f"{commit}:{path}"]
    done = subprocess.run(query, cwd=root, capture_output=True, encoding="utf-8", errors="replace", check=False)
    return done.stdout if done.returncode == 0 else None


def stale(root: Path) -> list[str]:
    """Stages whose results in dvc.lock were made with other code, parameters or inputs than those of the checkout.

    Needs no data and no cache: what is not there is taken as dvc.lock describes it. `dvc repro --dry --allow-missing`
    looks at each stage by itself: a walk would end at `start`, which depends on all code and parameters. The code of
    every stage and the weights of the model are looked up here as `start` does, and written to artifacts/code and
    artifacts/weights; what the last run wrote there is put back in the end.

    Raises
    ------
    FileNotFoundError, ValueError
        DVC cannot read the pipeline, a module is no Python, or weights are not there.
    """
    params = read(root)
    with _kept(root / "artifacts/code"), _kept(root / "artifacts/weights"):
        write_code(root)
        write_weights(root, params)
        return _stale_stages(root)


@contextmanager
def _kept(folder: Path) -> Iterator[None]:
    """Put a folder of files back as it was, if it was there."""
    before = {path.name: path.read_bytes() for path in folder.glob("*")} if folder.is_dir() else None
    try:
        yield
    finally:
        if before is not None:
            with replacing(folder, folder=True) as temporary:
                for name, content in before.items():
                    (temporary / name).write_bytes(content)


def _stale_stages(root: Path) -> list[str]:
    alone = ("--dry", "--allow-missing", "--keep-going", "--single-item")
    command = [sys.executable, "-m", "spikevaediff", "dvc", "repro", *alone, *of_all_stages(root, ("cmd",))]
    done = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", errors="replace", check=False)
    said = done.stdout + done.stderr
    # A changed stage "runs" where its inputs are present and "fails to reproduce" where they are not.
    found = re.findall(r"^Running stage '([^']+)'", said, re.MULTILINE)
    for line in re.findall(r"^ERROR: failed to reproduce (.*)$", said, re.MULTILINE):
        found += re.findall(r"'([^']+)'", line)
    if not found and done.returncode:
        raise ValueError(f"dvc repro --dry fails: {cause(said)}")
    return found


def _commit(revision: str, root: Path) -> str:
    query = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
    done = subprocess.run(query, cwd=root, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if said := done.stderr.strip():  # it says nothing of a revision that it does not know
        raise ValueError(f"Git cannot read {root}: {' '.join(said.split())}")
    if not done.returncode:
        return done.stdout.strip()
    listed = ["git", "for-each-ref", "--format=%(objectname) %(refname:lstrip=4)", "refs/exps/*/*/*"]
    refs = subprocess.run(listed, cwd=root, capture_output=True, encoding="utf-8", errors="replace", check=True).stdout
    experiments = [(commit, name) for commit, _, name in (line.partition(" ") for line in refs.splitlines())]
    found = {commit for commit, name in experiments if name == revision}
    if len(found) > 1:
        raise ValueError(f"{len(found)} experiments are named {revision!r}. Name the commit: dvc exp show --sha")
    if found:
        return found.pop()
    asked = subprocess.run(["git", "rev-parse", "--is-shallow-repository"], cwd=root, capture_output=True, check=False)
    cure = "; this clone is shallow, fetch the rest first: git fetch --unshallow" * (asked.stdout.strip() == b"true")
    there = f"; there are {', '.join(sorted({name for _, name in experiments}))}" if experiments else ""
    raise ValueError(f"{revision!r} is neither a revision that Git knows nor an experiment of DVC{there}{cure}")


def _dvc(root: Path, *words: str) -> str:
    done = run(root, sys.executable, "-m", "dvc", *words)
    if done.returncode:
        raise ValueError(f"dvc {' '.join(words)} fails: {cause(done.stderr)}")
    return done.stdout.strip()


def _rows(table: str, commits: dict[str, str]) -> str:
    """A table of DVC with short names of commits; nothing when it has a head and no row."""
    for commit in commits.values():
        table = table.replace(commit, commit[:7])
    return table if table.count("\n") > 1 else ""


def _changed_pictures(root: Path, base: str, head: str) -> list[str]:
    names = ["git", "diff", "--name-only", "-z", base, head, "--", "plots"]
    done = subprocess.run(names, cwd=root, capture_output=True, encoding="utf-8", errors="replace", check=True)
    return sorted(name for name in done.stdout.split("\0") if name.endswith((".png", ".jpg", ".svg")))


def _picture(url: str, commit: str, path: str, root: Path) -> str:
    there = subprocess.run(["git", "cat-file", "-e", f"{commit}:{path}"], cwd=root, capture_output=True, check=False)
    return f"![{path}]({url}/{commit}/{path})" if there.returncode == 0 else "not there"
