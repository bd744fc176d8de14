"""A committed run as a research object, read back by the library and held against the specification."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from rocrate.rocrate import ROCrate
from small_profile import copied, edit

from spikevaediff.__main__ import main
from spikevaediff.records import Stimuli
from spikevaediff.tools import crate


@pytest.mark.slow
def test_a_run_becomes_a_crate_that_says_what_made_what(
    pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clone = copied(pristine, tmp_path / "clone")
    monkeypatch.chdir(clone)
    assert main(["crate", str(tmp_path / "out")]) == 0, capsys.readouterr().err
    out = tmp_path / "out"
    graph = {one["@id"]: one for one in json.loads((out / "ro-crate-metadata.json").read_text())["@graph"]}
    # RO-Crate 1.1: the descriptor, and name, description, date and licence of the root.
    descriptor, root = graph["ro-crate-metadata.json"], graph["./"]
    assert descriptor["about"] == {"@id": "./"}
    assert "https://w3id.org/ro/crate/1.1" in json.dumps(descriptor["conformsTo"])
    assert {"name", "description", "datePublished", "license", "hasPart"} <= set(root)
    # Every entity that is referred to by a local id is described, and every file is there.
    for one in graph.values():
        for value in one.values():
            for reference in value if isinstance(value, list) else [value]:
                if isinstance(reference, dict) and set(reference) == {"@id"} and "://" not in reference["@id"]:
                    assert reference["@id"] in graph, reference
    files = {name for name, one in graph.items() if one["@type"] == "File"}
    assert files == {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} - {
        "ro-crate-metadata.json"
    }
    for name in ("params.yaml", "dvc.lock", "metrics/metrics.json", "plots/gallery.png"):
        assert (out / name).read_bytes() == (clone / name).read_bytes()
    assert (out / "decoded/posterior/0042.png").read_bytes() == (
        clone / "artifacts/decoded/posterior/0042.png"
    ).read_bytes()
    # The action: this commit made these results of these parameters and data, each with a licence.
    read = ROCrate(out)
    action = read.get("#run")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone, capture_output=True, text=True).stdout.strip()
    assert action["instrument"]["version"] == head
    objects, results = ([one.id for one in action[name]] for name in ("object", "result"))
    assert {"#data", "params.yaml", "#asset-mvtb_data"} <= set(objects)
    assert {"metrics/metrics.json", "scores/posterior.json", "decoded/diffusion/0000.png"} <= set(results)
    assert all("license" in graph[name] for name in [*objects, *results])
    # The same bytes again, and none of a run that is not committed.
    first = (out / "ro-crate-metadata.json").read_bytes()
    assert main(["crate", str(out)]) == 0
    assert (out / "ro-crate-metadata.json").read_bytes() == first
    (out / "notes").mkdir()
    (out / "notes/MINE.md").write_text("precious")
    assert main(["crate", str(out)]) == 1
    assert "would be replaced whole, and holds notes/MINE.md, which the crate there does not" in capsys.readouterr().err
    assert (out / "notes/MINE.md").read_text() == "precious"
    shutil.rmtree(out / "notes")
    (clone / "src/spikevaediff/decoders/mine.py").touch()
    assert main(["crate", str(out)]) == 1
    assert "src/spikevaediff/decoders/mine.py: not in the commit that the crate would name" in capsys.readouterr().err
    (clone / "src/spikevaediff/decoders/mine.py").unlink()
    edit(clone / "params.yaml", {"report.n_each": 2})
    assert main(["crate", str(out)]) == 1
    assert "params.yaml differ from the commit that the crate would name. Commit first" in capsys.readouterr().err


def test_without_a_run_or_a_licence_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["crate", "out"]) == 1
    assert "metrics.json does not exist. Run the pipeline first: dvc repro" in capsys.readouterr().err
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/metrics.json").write_text("{}")
    (tmp_path / "params.yaml").write_text("dataset: mine\n")
    Stimuli("mine", np.arange(2), np.zeros((2, 8, 8), np.uint8)).save(tmp_path / "artifacts/images.npz")
    with pytest.raises(ValueError, match=r"under which licence the data set mine may be used: --data-licence"):
        crate.write(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
