"""params.yaml read as a whole: with settings, and what is said of a file that is no parameters."""

import re
import shutil
from pathlib import Path

import pytest
from conftest import ROOT

from spikevaediff import Run
from spikevaediff.__main__ import main
from spikevaediff.parameters.file import dataset, model, read

# Every command that reads it, from whatever it has first.
COMMANDS = [
    ["plan"],
    ["assets", "bundle", "bundle.tar"],
    ["sweep"],
    ["cards"],
    ["crate", "out"],
    ["generate", "out"],
    ["predict", "fit.npz", "responses.npz", "out.npz", "--decode", "images"],
]


def test_settings_are_those_of_dvc() -> None:
    changed = read(ROOT, ["model=published", "split.n_folds=3", "++regress.text.alphas=[1.0]"])
    assert (changed["model"], changed["split"]["n_folds"], changed["regress"]["text"]["alphas"]) == (
        "published",
        3,
        [1.0],
    )
    for setting, says in (
        ("model", r"-S model: expected KEY=VALUE"),
        ("modle=mini", r"params\.yaml has no modle; it has dataset, model"),
        ("split.folds=3", r"params\.yaml has no split\.folds; split has method, n_folds"),
        ("seed.x=3", r"params\.yaml has no seed\.x; seed has no keys"),
    ):
        with pytest.raises(ValueError, match=says):
            read(ROOT, [setting])
    with pytest.raises(FileNotFoundError, match=r"has no params\.yaml"):
        read(ROOT / "tests")


@pytest.mark.parametrize("content", ["", "[1, 2]\n", "# all of it\n"])
def test_parameters_without_sections_are_said_to_be_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(content)
    for reading in (lambda: read(tmp_path), lambda: Run(tmp_path).params):
        with pytest.raises(ValueError, match=r"params.yaml holds no sections. Get .*: git checkout params.yaml"):
            reading()


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a: [\n", r'^not YAML: .*params.yaml", line 2, column 1$'),
        ("", r"params.yaml holds no sections. Get it back from the last commit: git checkout params.yaml$"),
    ],
)
def test_every_command_says_the_same_of_a_file_that_is_broken(
    words: list[str],
    content: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "params.yaml").write_text(content)
    shutil.copy(ROOT / "sweeps.yaml", tmp_path)
    for name in ("metrics/metrics.json", "artifacts/images.npz"):  # which crate asks for first
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(says, line)


def test_what_is_chosen_but_not_there_is_refused() -> None:
    params = read(ROOT)
    name, module, options = dataset(params)
    assert (name, module.__name__) == ("simulated", "spikevaediff.datasets.simulated")
    assert options == params["datasets"]["simulated"]
    assert model(params) == params["models"]["mini"]
    with pytest.raises(ValueError, match=r"params.yaml: dataset is 'alen'; there are simulated"):
        dataset(params | {"dataset": "alen"})
    with pytest.raises(ValueError, match=r"params.yaml: 'mine' is not a module of data sets; there are allen"):
        dataset(params | {"dataset": "own", "datasets": {"own": {"module": "mine"}}})
    with pytest.raises(ValueError, match=r"params.yaml: model is 'maxi'; there are mini, published"):
        model(params | {"model": "maxi"})
