"""A run as a research object (RO-Crate 1.1): `spikevaediff crate OUT` gathers what a repository of data wants to know.

Data, code, parameters, results and licences, with a machine-readable description of which made which: the commit is the
instrument of an action, parameters and data are its objects, metrics, plots and reconstructions its results.
"""

import datetime
import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from spikevaediff.files import assets
from spikevaediff.files.atomic import replacing
from spikevaediff.files.replaceable import check_ours
from spikevaediff.parameters.file import read
from spikevaediff.parameters.runs import read_runs
from spikevaediff.records import Stimuli, few
from spikevaediff.tools import compare, needs

_CODE = ("src", "stages", "vendor", "params.yaml", "runs.yaml", "dvc.yaml", "dvc.lock", "metrics", "plots")
_PARAMETERS = {
    "params.yaml": "Everything that decides a result",
    "runs.yaml": "Every run: what it is made from and compared with",
    "dvc.yaml": "The stages and what they depend on",
    "dvc.lock": "Hashes of code, inputs and results of every stage",
}
_MIT = "https://spdx.org/licenses/MIT"
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"


def write(root: Path, out: Path, *, data_licence: str | None = None) -> int:
    """Write a crate of the run whose results are committed.

    Parameters
    ----------
    root : Path
        A project in which the pipeline has run, committed.
    out : Path
        Folder to write; where it is a crate already, it is replaced whole.
    data_licence : str, optional
        Under which recordings and images may be used, for data sets that do not say so themselves: your own.

    Returns
    -------
    int
        Number of files.

    Raises
    ------
    FileNotFoundError, ValueError
        `out` holds something else than a crate; there are no results; something of them or of the code is not
        committed, or results are older than the code; nothing says under which licence the data are.
    """
    _check_out(out)
    for path in (root / "metrics/metrics.json", root / "artifacts/images.npz"):
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist. Run the pipeline first: dvc repro")
    params = read(root)
    said = _data(root, params, data_licence)
    if new := _git(root, "ls-files", "--others", "--exclude-standard", "--", *_CODE, ":!vendor/data").splitlines():
        raise ValueError(
            f"{few(new)}: not in the commit that the crate would name. Commit first (git add), or remove it"
        )
    if changed := _git(root, "status", "--porcelain", "--untracked-files=no", "--", *_CODE):
        some = ", ".join(line[2:].strip() for line in changed.splitlines()[:3])
        raise ValueError(f"{some} differ from the commit that the crate would name. Commit first: git commit --all")
    if older := compare.stale(root):
        raise ValueError(f"results are older than code or parameters: {', '.join(older[:3])}. Run: dvc repro")
    commit, date = _git(root, "log", "-1", "--format=%H %cI").split()
    crate = ROCrate(version="1.1")
    crate.name = f"Natural images reconstructed from neural responses: {said['name']}"
    crate.description = (
        "Results of a run of SpikeVAEDiff: scores, figures and reconstructed images, with parameters and the commit "
        f"that made them. Data: {said['name']}."
    )
    crate.datePublished = datetime.datetime.fromisoformat(date)
    crate.root_dataset["conformsTo"] = crate.add(
        ContextEntity(crate, _PROFILE, {"@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"})
    )
    mit = crate.add(ContextEntity(crate, _MIT, {"@type": "CreativeWork", "name": "MIT License", "identifier": "MIT"}))
    of_data = crate.add(
        ContextEntity(
            crate, "#licence-of-data", {"@type": "CreativeWork", "name": "Licence of the data", "text": said["licence"]}
        )
    )
    crate.root_dataset["license"] = [mit, of_data]
    software = crate.add(
        ContextEntity(
            crate,
            f"#commit-{commit}",
            {
                "@type": ["SoftwareApplication", "SoftwareSourceCode"],
                "name": "SpikeVAEDiff",
                "version": commit,
                "programmingLanguage": "Python",
                "license": mit,
                "url": "https://arxiv.org/abs/2601.09213",
            },
        )
    )
    data = crate.add(
        ContextEntity(
            crate,
            "#data",
            {"@type": "Dataset", "name": said["name"], "license": of_data}
            | ({"citation": said["citation"]} if said["citation"] else {}),
        )
    )
    networks = [crate.add(ContextEntity(crate, *one)) for one in _networks(root, params)]
    inputs = [
        crate.add_file(root / name, name, properties={"name": name, "description": what, "license": mit})
        for name, what in _PARAMETERS.items()
    ]
    results = [
        crate.add_file(path, name, properties={"name": name, "license": of_data} | _kind(path))
        for name, path in _results(root, params).items()
    ]
    for name in ("LICENSE", "CITATION.cff"):
        if (root / name).is_file():
            crate.add_file(root / name, name, properties={"name": name})
    crate.add_action(
        software,
        identifier="#run",
        object=[data, *networks, *inputs],
        result=results,
        properties={"name": "The pipeline, from recordings to scores", "endTime": date},
    )
    with replacing(out, folder=True) as temporary:
        crate.write(temporary)
        return sum(path.is_file() for path in temporary.rglob("*"))


def _check_out(out: Path) -> None:
    """Refuse a folder that holds more than a crate, which is replaced whole."""
    metadata = out / "ro-crate-metadata.json"
    if not metadata.is_file():
        check_ours(out, "crate", "(?!)")
        return
    try:
        listed = {one["@id"] for one in json.loads(metadata.read_text(encoding="utf-8"))["@graph"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{metadata} is no metadata of a crate ({error!r}). Name a new folder") from error
    there = [path.relative_to(out).as_posix() for path in sorted(out.rglob("*")) if path.is_file()]
    if others := [name for name in there if name not in listed and quote(name) not in listed]:
        raise ValueError(
            f"{out} would be replaced whole, and holds {few(others)}, which the crate there does not list. Keep "
            f"files of your own elsewhere, or name a new folder"
        )


def _results(root: Path, params: dict[str, Any]) -> dict[str, Path]:
    """Metrics, plots, and what single images were scored and reconstructed as, by their place in the crate."""
    wanted = read_runs(root / "runs.yaml", params["parts"])
    found = [path for folder in ("metrics", "plots") for path in sorted((root / folder).iterdir()) if path.is_file()]
    for run in wanted.scored:
        found.append(root / f"artifacts/scores/{run}.json")
        if run in wanted.results:
            found += sorted((root / f"artifacts/decoded/{run}").glob("*.png"))
    return {path.relative_to(root).as_posix().removeprefix("artifacts/"): path for path in found}


def _kind(path: Path) -> dict[str, Any]:
    kinds = {".json": "application/json", ".csv": "text/csv", ".png": "image/png", ".html": "text/html"}
    return {"encodingFormat": kinds[path.suffix]} if path.suffix in kinds else {}


def _data(root: Path, params: dict[str, Any], licence: str | None) -> dict[str, Any]:
    """Name, licence and citations of the data set."""
    name = Stimuli.load(root / "artifacts/images.npz").source
    manifest = root / "vendor/data" / params["dataset"] / "manifest.json"
    if manifest.is_file():
        said = json.loads(manifest.read_text(encoding="utf-8"))
        return {"name": name, "licence": licence or said["licence"], "citation": said["citation"]}
    if params["dataset"] == "simulated":
        photographs = sorted({a.licence for a in assets.ASSETS.values() if "photographs" in a.used_for and a.embedded})
        whole = f"Simulated spikes: MIT. Photographs, of several licences: {'; '.join(photographs)}"
        return {"name": name, "licence": licence or whole, "citation": []}
    if not licence:
        raise ValueError(
            f"nothing says under which licence the data set {params['dataset']} may be used: --data-licence TEXT"
        )
    return {"name": name, "licence": licence, "citation": []}


def _networks(root: Path, params: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Identifier and properties of the networks and photographs made by others that the run read."""
    found = []
    for need in needs.needs(params, root):
        if need.file is None and need.state == "have":
            asset = assets.ASSETS[need.name]
            properties = {"@type": "CreativeWork", "name": asset.name, "description": asset.used_for}
            properties |= {"license": asset.licence, "identifier": asset.source, "contentSize": str(asset.bytes)}
            if asset.sha256:
                properties["sha256"] = asset.sha256
            found.append((f"#asset-{asset.name}", properties))
    return found


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=root, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode:
        raise ValueError(f"git {words[0]} fails: {' '.join(done.stderr.split())}")
    return done.stdout.rstrip()
