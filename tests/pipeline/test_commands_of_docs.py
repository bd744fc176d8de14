"""Commands of pages, also those that no test can run for want of the data, name parameters and stages that exist."""

import itertools
import re
import shlex
import shutil
from pathlib import Path

import pytest
from conftest import ROOT
from ruamel.yaml import YAML
from small_profile import STAGES
from test_docs import files

from spikevaediff.parameters import check

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GROUPS = {name.partition("@")[0] for name in STAGES}


def commands(page: Path) -> list[list[str]]:
    """Words of every `dvc` and `make repro` of a page's shell blocks, without what stands before them."""
    found = []
    for block in re.findall(r"^```(?:sh|console)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if (command := re.match(r"(?:\$ )?(?:\w+=\S+ )*((?:dvc|make) .*)", line)) is None:
                continue
            words = shlex.split(command[1], comments=True)
            end = next((i for i, word in enumerate(words) if word in ("&&", "|", ";")), len(words))
            found.append(words[:end])
    return found


def settings(words: list[str]) -> list[str]:
    """What -S sets, in `SET=...` of make as well."""
    if words[:2] == ["make", "repro"]:
        words = shlex.split(next((word.removeprefix("SET=") for word in words if word.startswith("SET=")), ""))
    return [value for flag, value in itertools.pairwise(words) if flag in ("-S", "--set-param")]


def stages_of(words: list[str]) -> list[str]:
    """The targets of `dvc repro` and `dvc exp run`."""
    if words[:2] == ["dvc", "repro"]:
        rest = words[2:]
    elif words[:3] == ["dvc", "exp", "run"]:
        rest = words[3:]
    else:
        return []
    taken = ("-S", "--set-param", "-n", "--name", "-j", "--jobs", "-m", "--message")
    return [word for before, word in itertools.pairwise(["", *rest]) if word[0] != "-" and before not in taken]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what DVC imports
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_parameters_and_stages_exist(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.utils.hydra import apply_overrides, get_hydra_sweeps

    monkeypatch.chdir(tmp_path)
    shown = {Path(name).stem for name in files(page)}
    for words in commands(page):
        if any(word == "..." for word in words):
            continue
        wrong = [name for name in stages_of(words) if name not in STAGES | GROUPS | {"data.dvc"}]
        assert not wrong, f"{shlex.join(words)}: no stage is called {wrong}"
        by_file: dict[str, list[str]] = {}
        for setting in settings(words):
            head, colon, rest = setting.partition(":")
            file, change = (head, rest) if colon and head.endswith(".yaml") else ("params.yaml", setting)
            by_file.setdefault(file, []).append(change)
        for one in get_hydra_sweeps(by_file) if by_file else [{}]:
            for file in ("params.yaml", "runs.yaml"):
                shutil.copyfile(ROOT / file, file)
            for file, given in one.items():
                apply_overrides(Path(file), given)  # refuses a key that is not there
            params = YAML(typ="safe").load(Path("params.yaml"))
            problems = [*check.of_sections(params), *check.of_choices(params)]
            # Data of one's own, which the pages call so, bring a section of their own.
            problems = [problem for problem in problems if not problem.startswith("dataset is 'mine'")]
            # So do modules that the page shows.
            problems = [problem for problem in problems if not shown & set(re.findall(r"'(\w+)'", problem))]
            assert not problems, f"{shlex.join(words)}: {problems}"


def test_the_steps_of_brain_diffuser_are_among_them() -> None:
    first, *others = [words for words in commands(ROOT / "docs/brain-diffuser.md") if words[0] == "dvc"]
    assert len(settings(first)) > 20
    assert stages_of(first) == ["responses@visual", "split"]
    assert [name for words in others for name in stages_of(words)][:4] == [
        "decode@vdvae",
        "regress@vision",
        "regress@text",
        "decode_diffusion@diffusion",
    ]
