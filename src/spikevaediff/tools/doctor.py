"""What may be wrong with a checkout and its machine, and how to cure it: `spikevaediff doctor`.

DVC trusts its cache: a byte that flips on disk is restored, pushed and computed with. Here every object is hashed
again. The rest are the questions that one asks first when a run fails on another machine: other versions, assets that
are not there, locks of processes that are gone, results older than the code, a full disk, no GPU.
"""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from filecmp import cmp
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil
from dvc.dirs import site_cache_dir

from loading.machine import processors, total_memory
from spikevaediff.files import assets
from spikevaediff.files.checksums import size_text
from spikevaediff.parameters.file import dataset, read
from spikevaediff.tools.disk import existing, free_bytes
from spikevaediff.tools.dvc_cache import cache_folder, damage, objects, recorded_stages, workspace_paths
from spikevaediff.tools.shell import cause, folder_of, run

FREE_BYTES = 5 * 10**9  # the embedded run needs about one, a published model or a real session several


@dataclass(frozen=True)
class Finding:
    """One answer: `state` is "fine", "note" (works, but look) or "broken"; `cure` is what to type."""

    name: str
    state: Literal["fine", "note", "broken"]
    text: str
    cure: str = ""


def examine(root: Path, *, cache: bool = True) -> Iterator[Finding]:
    """All findings about one checkout, the quick ones first.

    Parameters
    ----------
    root : Path
        Top of the checkout: the folder of dvc.yaml.
    cache : bool
        Also hash every object of the DVC cache again (about a second for 500 MB).

    Raises
    ------
    FileNotFoundError
        `root` is not the top of a checkout.
    """
    if not (root / "dvc.yaml").is_file():
        raise FileNotFoundError(f"{root} has no dvc.yaml. Run this at the top of a checkout of SpikeVAEDiff")
    yield versions(root)
    yield python_of_stages()
    yield git(root)
    yield folders(root)
    yield missing_assets()
    yield free_disk(root)
    yield gpu()
    yield locks(root)
    yield imported_data(root)
    yield from untracked_data(root)
    yield from private_data(root)
    yield stale_results(root)
    yield stale_experiments(root)
    if cache:
        yield damaged_objects(cache_folder(root), workspace_paths(root))


def versions(root: Path) -> Finding:
    """Installed packages against constraints.txt; a package that is not installed is fine, it may be an extra."""
    wrong = []
    for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines():
        name, _, pinned = line.partition("==")
        if not pinned:
            continue
        try:
            installed = metadata.version(name.strip())
        except metadata.PackageNotFoundError:
            continue
        if installed.split("+")[0] != pinned.split(";")[0].strip():  # 2.13.0+cpu is a build of 2.13.0
            wrong.append(f"{name.strip()} {installed} instead of {pinned.split(';')[0].strip()}")
    python = ".".join(map(str, sys.version_info[:3]))
    if wrong:
        cure = "rm .venv/installed && make setup"
        return Finding("versions", "note", f"Python {python}; {', '.join(wrong)}: results may differ", cure)
    return Finding("versions", "fine", f"Python {python}, packages as in constraints.txt")


def python_of_stages() -> Finding:
    """Whether stages, which say `python`, run with the Python that runs this; and whether it has pip, for assets."""
    ours = Path(sys.executable)
    first = shutil.which("python")
    if first is None or not Path(first).parent.samefile(ours.parent):
        text = f"stages would run with {first or 'no python, as PATH has none'}, not with {ours}"
        return Finding("python", "broken", text, f". {shlex.quote(str(ours.parent / 'activate'))}")
    if importlib.util.find_spec("pip") is None:
        return Finding("python", "note", f"{ours} has no pip, which fetches assets", f"{ours} -m ensurepip")
    return Finding("python", "fine", f"stages run with {ours}")


def git(root: Path) -> Finding:
    """Whether Git reads this checkout, and all of its history."""
    try:
        done = run(root, "git", "rev-parse", "--is-shallow-repository")
    except FileNotFoundError:
        return Finding("git", "broken", "it is not installed, and DVC keeps experiments with it", "install git")
    said = " ".join(done.stderr.split())
    if "dubious ownership" in said:
        text = f"{root} belongs to another user, so Git and `dvc exp` refuse it"
        return Finding("git", "broken", text, f"git config --global --add safe.directory {shlex.quote(str(root))}")
    if done.returncode:
        cure = "clone it instead of unpacking it; to run it as it is: dvc config --local core.no_scm true"
        return Finding("git", "note", said, cure)
    if done.stdout.strip() == "true":
        text = "a shallow clone: sweeps, `dvc exp run --temp` and `--queue` would keep nothing and are refused"
        return Finding("git", "note", text, "git fetch --unshallow")
    return Finding("git", "fine", "a clone with its history")


def folders(root: Path) -> Finding:
    """Whether this user may write where a run writes."""
    places = {"checkout": root, "DVC cache": cache_folder(root), "DVC's state": Path(site_cache_dir())}
    refused = [f"{name} ({place})" for name, place in places.items() if not _writable(place)]
    if refused:
        cure = "take the folder over, or choose another: dvc cache dir --local FOLDER, export DVC_SITE_CACHE_DIR=FOLDER"
        return Finding("folders", "broken", f"this user may not write {', '.join(refused)}", cure)
    if not _writable(assets.cache_dir()):
        text = f"this user may not write {assets.cache_dir()}: what is there is used, and nothing is fetched"
        return Finding("folders", "note", text, "export SPIKEVAEDIFF_CACHE=FOLDER")
    return Finding("folders", "fine", "all that a run writes to may be written")


def _writable(place: Path) -> bool:
    above = existing(place)
    return above.is_dir() and os.access(above, os.W_OK | os.X_OK)


def missing_assets() -> Finding:
    """Assets that the default run needs and that are not in the user's cache."""
    there = {name: assets.state(name) for name, asset in assets.ASSETS.items()}
    damaged = [name for name in there if there[name] == "damaged"]
    missing = [name for name, asset in assets.ASSETS.items() if asset.embedded and there[name] == "no"]
    if damaged or missing:
        size = size_text(sum(assets.ASSETS[name].bytes for name in missing))
        parts = [f"{', '.join(damaged)} damaged in {assets.cache_dir()}"] if damaged else []
        if missing:
            parts.append(f"{', '.join(missing)} not in {assets.cache_dir()} ({size}); the first run fetches them")
        return Finding("assets", "note", "; ".join(parts), f"spikevaediff assets fetch {' '.join(damaged + missing)}")
    return Finding("assets", "fine", f"all that the default run needs is in {assets.cache_dir()}")


def free_disk(root: Path) -> Finding:
    """Free space where results, the DVC cache and the user's cache lie."""
    places = {"checkout": root, "DVC cache": cache_folder(root), "user's cache": assets.cache_dir()}
    free = {name: free_bytes(place) for name, place in places.items()}
    text = ", ".join(f"{name} {size_text(size)} free" for name, size in free.items())
    if min(free.values()) < FREE_BYTES:
        return Finding("disk", "note", text, "dvc gc --workspace removes results of other runs; see `dvc gc --help`")
    return Finding("disk", "fine", text)


def gpu() -> Finding:
    """What `nvidia-smi` lists and whether torch and JAX can use it; nothing here needs one."""
    try:
        query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
        listed = subprocess.run(
            query, capture_output=True, encoding="utf-8", errors="replace", check=True
        ).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        usable = f"{processors()} processors and {size_text(total_memory())} of memory"
        return Finding("gpu", "fine", f"none; this process may use {usable}")
    import torch

    jax = any(distribution.name.startswith("jax-cuda") for distribution in metadata.distributions())
    unable = [name for name, able in (("torch", torch.cuda.is_available()), ("jax", jax)) if not able]
    text = "; ".join(listed.splitlines())
    if unable:
        return Finding("gpu", "note", f"{text}, which {' and '.join(unable)} cannot use", "install their CUDA builds")
    return Finding("gpu", "fine", text)


def locks(root: Path) -> Finding:
    """Locks of DVC that processes hold which no longer run; DVC itself clears most of them."""
    path = root / ".dvc/tmp/rwlock"
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        held = {}
    except ValueError:  # DVC writes it in place: a kill at that moment leaves a part of it, or nothing
        return Finding("locks", "broken", f"{path} is damaged", f"rm {path}, when no dvc command runs")
    holders: set[int] = set()
    for entry in held.values():
        write = entry.get("write")
        holders |= {int(one["pid"]) for one in [*entry.get("read", []), *([write] if write else [])]}
    dead = sorted(pid for pid in holders if not psutil.pid_exists(pid))
    if dead:
        text = f"held by processes that are gone: {', '.join(map(str, dead))}"
        return Finding("locks", "note", text, f"the next dvc command clears them; if it does not: rm {path}")
    alive = f"; process {', '.join(map(str, sorted(holders)))} is at work" if holders else ""
    return Finding("locks", "fine", f"none is left over{alive}")


def stale_results(root: Path) -> Finding:
    """Stages whose inputs, code or parameters are newer than dvc.lock."""
    if recorded_stages(root) is None:
        # DVC writes it in place, so a kill at that moment leaves a part of it.
        cure = "rm dvc.lock && dvc repro, which takes finished stages from the run-cache"
        return Finding("results", "broken", "dvc.lock cannot be read: a dvc command was killed while it wrote", cure)
    done = run(root, sys.executable, "-m", "dvc", "status", "--json")
    if done.returncode:
        return Finding("results", "broken", f"dvc status fails: {cause(done.stderr)}", "mend what it names")
    changed = json.loads(done.stdout or "{}")
    if changed:
        names = sorted(changed)
        text = f"{len(names)} stages are not up to date: {', '.join(names[:6])}" + (", ..." if len(names) > 6 else "")
        return Finding("results", "note", text, "dvc repro")
    return Finding("results", "fine", "dvc.lock agrees with code, parameters and files")


def imported_data(root: Path) -> Finding:
    """Whether data/, which data.dvc imports, is vendor/data, file by file.

    `dvc exp run` writes the checksum of an edited vendor/data into data.dvc without copying it; from then on DVC takes
    the old copy for the new one.
    """
    source, copy = root / "vendor/data", root / "data"
    if not copy.is_dir():
        return Finding("data", "fine", "data/ is not imported yet; `dvc repro` does it")
    names = [
        {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix != ".tmp"}
        for folder in (source, copy)
    ]
    both = names[0] & names[1]
    other = sorted(
        (names[0] ^ names[1]) | {name for name in both if not cmp(source / name, copy / name, shallow=False)}
    )
    if other:
        some = ", ".join(map(str, other[:3])) + (", ..." if len(other) > 3 else "")
        text = f"data/ is an older copy of vendor/data, which is what stages read; {len(other)} files differ: {some}"
        return Finding("data", "note", text, "dvc repro -f data.dvc")
    return Finding("data", "fine", f"data/ is vendor/data, {len(both)} files")


def untracked_data(root: Path) -> Iterator[Finding]:
    """Files of vendor/data that Git does not know: a run outside the workspace is a copy without them.

    Nothing where Git does not answer, which `git` says.
    """
    try:
        listed = run(root, "git", "ls-files", "-z", "--others", "--exclude-standard", "--", "vendor/data")
    except FileNotFoundError:
        return
    if listed.returncode:
        return
    files = [name for name in listed.stdout.split("\0") if name]
    if files:
        text = f"{files[0]}{f' and {len(files) - 1} more' * (len(files) > 1)} not in Git: --temp and --queue lack them"
        folders = sorted({str(Path(*Path(name).parts[:3])) for name in files})
        yield Finding("vendor/data", "note", text, f"git add {' '.join(folders)} (large: dvc add)")
    else:
        yield Finding("vendor/data", "fine", "Git tracks all of it")


def private_data(root: Path) -> Iterator[Finding]:
    """Of a data set that may not be passed on, what `dvc push` would send where; nothing of other data sets.

    DVC runs no hook before a push, so this has to be asked.
    """
    try:
        params = read(root)
        name, module, _ = dataset(params)
    except (OSError, ValueError, KeyError):
        return  # `start` says what is wrong with params.yaml
    if not (why := getattr(module, "PRIVATE", "")):
        return
    remote, kept = params.get("recordings_remote"), "recordings, images, captions and responses"
    if not remote:
        cure = "recordings_remote: not_shared in params.yaml, before anybody pushes"
        yield Finding("private data", "broken", f"dataset is {name}, {why}; `dvc push` sends all of it", cure)
    elif remote == "not_shared":
        text = f"dataset is {name}, {why}: {kept} stay here; features, reconstructions and plots do not"
        yield Finding("private data", "note", text, "read its terms before you push or publish these")
    else:
        text = f"dataset is {name}, {why}: `dvc push` sends {kept} to {remote}"
        yield Finding("private data", "note", text, f"dvc remote list, and see who can read {remote}")


def stale_experiments(root: Path) -> Finding:
    """Experiments of this commit whose metrics are of other scores than they recorded.

    The first stage withdraws the metrics of the run before, so that none should be; those of an earlier version, or
    run with `--single-item`, may be.
    """
    if run(root, "git", "rev-parse", "HEAD").returncode:
        return Finding("experiments", "fine", "no commit, no experiments")
    refs = run(root, "git", "for-each-ref", "--format=%(refname)", f"refs/exps/{folder_of(root)}").stdout.split()
    stale = []
    for ref in refs:
        held = [run(root, "git", "show", f"{ref}:{name}") for name in ("dvc.lock", "metrics/metrics.json")]
        if not any(done.returncode for done in held) and not of_one_run(held[0].stdout):
            stale.append(ref.rpartition("/")[2])
    if stale:
        text = f"metrics were not computed in, but left over in: {', '.join(stale)}"
        return Finding("experiments", "note", text, f"dvc exp remove {' '.join(stale)}, and run them without a target")
    return Finding("experiments", "fine", f"{len(refs)} of this commit, none shows numbers of another run")


def of_one_run(lock: str) -> bool:
    """Whether what the stage `report` read is what the stages before it wrote, according to the text of dvc.lock."""
    # By patterns: a parser of YAML takes a quarter of a second for each of perhaps a thousand experiments.
    written: dict[str, str] = {}
    read: dict[str, str] = {}
    for name, body in re.findall(r"^  (\S+):\n((?:    .*\n?)+)", lock, re.MULTILINE):
        for section, files in re.findall(r"^    (deps|outs):\n((?:    [- ] .*\n?)+)", body, re.MULTILINE):
            found = dict(re.findall(r"- path: (\S+)\n +hash: md5\n +md5: (\S+)", files))
            if section == "outs":
                written |= found
            elif name == "report":
                read = found
    return all(written.get(path, digest) == digest for path, digest in read.items())


def damaged_objects(cache: Path, where: dict[str, list[Path]]) -> Finding:
    """Objects whose MD5 is not their name, and where in the workspace they stand.

    A workspace file may be a link to the object and is then damaged as well.
    """
    try:
        damaged, size = damage(cache)
    except OSError as error:
        cure = "have its owner give the right to read it (docs/sharing.md), or remove it"
        return Finding("cache", "broken", f"{error.filename} cannot be read ({error.strerror})", cure)
    litter = [path for path in (cache / "files/md5").rglob(".*.tmp") if path.is_file()]
    left = f"; {len(litter)} half-written files of killed runs" if litter else ""
    if damaged:
        lines = []
        for path in damaged:
            places = where.get(path.parent.name + path.name.removesuffix(".dir"), [])
            lines.append(str(path) + (f" (= {', '.join(map(str, places))})" if places else ""))
        cure = "spikevaediff doctor --remove-damaged, then dvc pull or dvc repro"
        return Finding("cache", "broken", f"{len(damaged)} damaged objects: {'; '.join(lines)}{left}", cure)
    return Finding("cache", "fine", f"{len(objects(cache))} objects, {size_text(size)}, all whole{left}")
