"""Two commits compared as one Markdown page: metrics, parameters, pictures. `spikevaediff compare BASE [HEAD]`.

The page is what a reviewer needs before merging; .github/workflows/compare.yaml posts it under a pull request, and
anybody can make it by hand. Everything comes from Git: no data, no cache and no run are needed.
"""

import re
import subprocess
import sys
from pathlib import Path

from spikevaediff.tools.sweep import cause

MARK = "<!-- spikevaediff compare -->"  # by which the one comment is found again


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
    parts = [MARK, f"### {short[base]} (base) compared with {short[head]}"]
    metrics = _dvc(root, "metrics", "diff", commits[base], commits[head], "--md")
    parts += ["#### Metrics", _rows(metrics, commits) or "No metric differs."]
    params = _dvc(root, "params", "diff", commits[base], commits[head], "--md")
    parts += ["#### Parameters", _rows(params, commits) or "No parameter differs."]
    pictures = _changed_pictures(root, commits[base], commits[head])
    parts += ["#### Pictures"]
    if not pictures:
        parts += ["No picture differs."]
    elif url is None:
        parts += ["\n".join(f"- `{path}` differs" for path in pictures)]
    for path in pictures if url else []:
        old, new = (_picture(url or "", commits[name], path, root) for name in (base, head))
        parts += [
            f"<details><summary>{path}</summary>",
            f"| {short[base]} | {short[head]} |\n|---|---|\n| {old} | {new} |",
            "</details>",
        ]
    return "\n\n".join(parts) + "\n"


def stale(root: Path) -> list[str]:
    """Stages whose results in dvc.lock were made with other code, parameters or inputs than those of the checkout.

    Needs no data and no cache: what is not there is taken as dvc.lock describes it. `dvc repro --dry --allow-missing`
    looks at each stage by itself: a walk would end at `start`, which depends on all code and parameters.

    Raises
    ------
    ValueError
        DVC cannot read the pipeline.
    """
    names = _dvc(root, "stage", "list", "--name-only").split()
    alone = ("--dry", "--allow-missing", "--keep-going", "--single-item")
    command = [sys.executable, "-m", "dvc", "repro", *alone, *names]
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
    if done.returncode:
        raise ValueError(
            f"Git does not know the revision {revision!r}. In a shallow clone fetch it first: git fetch --unshallow"
        )
    return done.stdout.strip()


def _dvc(root: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=root,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
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
