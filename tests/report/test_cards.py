"""The cards say what is in the records."""

import hashlib
from pathlib import Path

import pytest
from conftest import ROOT
from ruamel.yaml import YAML
from small_profile import copied

from spikevaediff.__main__ import main
from spikevaediff.records import Responses
from spikevaediff.report.cards import cards


def test_without_a_run_the_command_to_make_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"images.npz does not exist. Run the pipeline first: make repro"):
        cards(tmp_path, {})


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


def test_the_cards_of_the_repository_are_of_the_weights_that_it_ships() -> None:
    text = (ROOT / "docs/cards.md").read_text()
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    assert f"# Data card: {params['dataset']}" in text
    for path in (ROOT / "vendor/data/weights").glob("*.safetensors"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in text, (
            f"{path.name}: run `spikevaediff cards --out docs/cards.md`"
        )
