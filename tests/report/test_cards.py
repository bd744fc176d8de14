"""The cards say what is in the records."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import cowley_files
import nsd_files
import numpy as np
import pytest
import tvsd_files
from bucket import serving
from conftest import ROOT
from ruamel.yaml import YAML
from safetensors.numpy import save_file
from small_profile import copied

from spikevaediff.__main__ import main
from spikevaediff.datasets import cowley_v4, nsd, tvsd
from spikevaediff.files import tables
from spikevaediff.files.left_out import mark
from spikevaediff.records import ImageSplit, Responses, Stimuli
from spikevaediff.report.cards import _model_cards, cards


def test_without_a_run_the_command_to_make_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"images.npz does not exist. Run the pipeline first: make repro"):
        cards(tmp_path, {})


def test_outside_a_project_the_command_says_where_to_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["cards"]) == 1
    expected = f"{tmp_path} has no params.yaml. Run this at the top of a checkout of SpikeVAEDiff\n"
    assert capsys.readouterr().err == expected
    (tmp_path / "params.yaml").write_text("# nothing\n")
    assert main(["cards"]) == 1
    assert "params.yaml holds no sections" in capsys.readouterr().err


def test_the_data_card_of_recordings_of_others_has_licence_citation_and_what_nobody_measured(tmp_path: Path) -> None:
    published = cowley_files.session(tmp_path / "published", 1, list(range(8)))
    folder = cowley_files.write_manifest(tmp_path / "data", ["https://nowhere.invalid/{path}"], [published])
    params = YAML(typ="safe").load(ROOT / "params.yaml") | {"dataset": "cowley_v4"}
    options = params["datasets"]["cowley_v4"] | {"sessions": [1], "trials": "single"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / "cache"))
        (tmp_path / "cache").mkdir()
        (tmp_path / "published").rename(tmp_path / "cache/cowley_v4")
        cowley_v4.acquire(folder, tmp_path / "artifacts", **options)
    responses = Responses.load(tmp_path / "artifacts/sessions/1.npz")
    (tmp_path / "artifacts/responses").mkdir()
    for name in ("visual", "control"):
        responses.save(tmp_path / f"artifacts/responses/{name}.npz")
    ImageSplit(np.arange(1, 9), np.arange(8) % 4).save(tmp_path / "artifacts/split.npz")
    text = cards(tmp_path, params)
    assert "- Licence: for tests." in text
    assert "- Cite: nobody" in text
    assert (
        "- Quality of units: isi_violations not measured, amplitude_cutoff not measured, presence_ratio not m" in text
    )
    mean = responses.counts.mean()
    assert f"| visual | V4 | 6 | not known | {mean:.2f} |" in text
    assert "3 to 4 of each image" in text
    assert "mouse" not in text
    assert "| control | V4 |" in text
    # Time bins add up to a response.
    bins = replace(responses, counts=np.repeat(responses.counts, 2, 2), window_s=np.array([[0.0, 0.1], [0.1, 0.2]]))
    bins.save(tmp_path / "artifacts/responses/control.npz")
    assert f"| control | V4 | 6 | not known | {2 * mean:.2f} |" in cards(tmp_path, params)
    mark(tmp_path / "artifacts/responses/control.npz", "parts.controls")
    assert "| control |" not in cards(tmp_path, params)


@pytest.mark.parametrize("name", ["nsd", "tvsd"])
def test_of_voxels_and_multi_unit_activity_no_card_says_hertz(name: str, tmp_path: Path) -> None:
    params = YAML(typ="safe").load(ROOT / "params.yaml") | {"dataset": name}
    with pytest.MonkeyPatch.context() as patch, serving(tmp_path) as nowhere:
        patch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / "cache"))
        patch.setenv("SPIKEVAEDIFF_ACCEPT_TERMS", "nsd")
        patch.setenv("SPIKEVAEDIFF_THINGS", str(tmp_path / "things"))
        patch.setenv(f"SPIKEVAEDIFF_SOURCE_{name.upper()}", str(tmp_path / "published"))
        if name == "nsd":
            nsd_files.write(tmp_path / "published")
            changed = {"subject": nsd_files.SUBJECT}
            folder = nsd_files.write_manifest(tmp_path / "data", nowhere.url)
            nsd.acquire(folder, tmp_path / "artifacts", **params["datasets"][name] | changed)
        else:
            tvsd_files.write(tmp_path / "published", tmp_path / "things")
            folder = tvsd_files.write_manifest(tmp_path / "data", nowhere.url)
            tvsd.acquire(folder, tmp_path / "artifacts", **params["datasets"][name])
    (session,) = (tmp_path / "artifacts/sessions").glob("*.npz")
    (tmp_path / "artifacts/responses").mkdir()
    responses = Responses.load(session)
    for population in ("visual", "control"):
        responses.save(tmp_path / f"artifacts/responses/{population}.npz")
    given = [row["fold"] == "0" for row in tables.read(tmp_path / "artifacts/split_given.csv")]
    shown = Stimuli.load(tmp_path / "artifacts/images.npz").image_id
    ImageSplit(shown, np.where(given, 0, -1)).save(tmp_path / "artifacts/split.npz")
    text = cards(tmp_path, params)
    assert "Hz" not in text
    assert "spike" not in text.split("# Model cards")[0]
    said = {"nsd": "(betas); units are voxels.", "tvsd": "of each area; units are electrodes."}[name]
    assert re.search(rf"- Responses: [^\n]*{re.escape(said)}\n", text)
    assert "after onset" not in text
    assert "| population | area | units | mean response to an image |\n|---|---|---|---|\n" in text
    area = responses.unit_area[0]
    n = int((responses.unit_area == area).sum())
    mean = responses.counts[:, responses.unit_area == area].astype(np.float64).mean()
    assert f"| visual | {area} | {n} | {mean:.2f} |" in text
    assert "- Cite: " in text
    assert {"nsd": "which forbid passing it on", "tvsd": "CC BY 4.0"}[name] in text


@pytest.mark.slow
def test_the_cards_name_units_presentations_and_weights(
    pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clone = copied(pristine, tmp_path / "clone", ignore=("tmp", ".git"))
    published = (clone / "docs/cards.md").read_bytes()
    monkeypatch.chdir(clone)
    assert main(["cards"]) == 0
    text = (clone / capsys.readouterr().out.strip()).read_text()
    assert (clone / "docs/cards.md").read_bytes() == published
    visual = Responses.load(clone / "artifacts/responses/visual.npz")
    assert f"- Presentations: {len(visual.image_id)}, of which" in text
    for area in set(visual.unit_area.tolist()):
        assert f"| visual | {area} | {int((visual.unit_area == area).sum())} |" in text
    weights = clone / "vendor/data/weights/vdvae_mini.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in text
    assert "the spikes are **simulated**" in text


def test_weights_of_another_name_are_not_said_to_be_made_here(tmp_path: Path) -> None:
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "mine.safetensors")
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "unread.safetensors")
    spaces = {"vdvae": {"weights": "./mine.safetensors"}, "text": {"weights": "an_asset"}}
    text = _model_cards(tmp_path, {"model": "own", "models": {"own": spaces}})
    assert "## mine" in text
    assert "Not of this project" in text
    assert "Made by this project" not in text
    assert "unread" not in text


def test_the_cards_of_the_repository_are_of_the_weights_that_it_ships() -> None:
    text = (ROOT / "docs/cards.md").read_text()
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    assert f"# Data card: {params['dataset']}" in text
    for path in (ROOT / "vendor/data/weights").glob("*.safetensors"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in text, (
            f"{path.name}: run `spikevaediff cards --out docs/cards.md`"
        )
