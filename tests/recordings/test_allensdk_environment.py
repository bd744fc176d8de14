"""The environment of allensdk: exact versions with hashes, from whatever index uv is set up for, built once."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from spikevaediff.recordings import allensdk_environment


def requirements() -> dict[str, str]:
    """Package -> its version and hashes, as the file has them."""
    text = allensdk_environment.PACKAGES.read_text().replace("\\\n", " ")
    return {line.split("==")[0]: line for line in text.splitlines() if line}


def test_every_package_has_an_exact_version_and_hashes_and_no_index_is_named() -> None:
    found = requirements()
    assert len(found) > 50
    for name, line in found.items():
        assert re.fullmatch(rf"{name}==[\w.]+( ; [^#]+?)?( +--hash=sha256:[0-9a-f]{{64}})+", line), line
    text = allensdk_environment.PACKAGES.read_text()
    assert "://" not in text
    assert "--index" not in text
    assert not list(allensdk_environment.PACKAGES.parent.glob("*.lock"))


def test_the_versions_are_what_the_script_asks_for() -> None:
    block = allensdk_environment.SCRIPT.read_text().split("# ///")[1].removeprefix(" script\n")
    asked = tomllib.loads(re.sub(r"^# ", "", block, flags=re.MULTILINE))
    assert asked["requires-python"] == ">=3.11,<3.12"
    found = requirements()
    for requirement in map(Requirement, asked["dependencies"]):
        version = re.search(r"==([\w.]+)", found[requirement.name])
        assert version
        assert requirement.specifier.contains(version[1]), requirement.name


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a uv that only notes how it was called was asked for; it fails where the file `refuse` says so."""
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / "cache"))
    log, uv = tmp_path / "asked", tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(
        f'#!/bin/sh\necho "$*" >> {log}\n[ ! -e {tmp_path}/refuse ] || {{ echo "no such  hash" >&2; exit 2; }}\n'
    )
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{uv.parent}:/usr/bin:/bin")
    return log


def test_it_is_built_once_and_hashes_are_required(asked: Path, tmp_path: Path) -> None:
    first = allensdk_environment.command("read", "a.nwb")
    assert first[1:] == [str(allensdk_environment.SCRIPT), "read", "a.nwb"]
    assert Path(first[0]).parents[2] == tmp_path / "cache"
    venv, pip = asked.read_text().splitlines()
    assert venv.startswith("venv ")
    assert pip.startswith(f"pip install --quiet --require-hashes --requirements {allensdk_environment.PACKAGES} ")
    assert allensdk_environment.command("fetch")[0] == first[0]
    assert len(asked.read_text().splitlines()) == 2


def test_what_cannot_be_built_is_said_in_a_line_and_leaves_nothing(asked: Path, tmp_path: Path) -> None:
    (tmp_path / "refuse").touch()
    message = r"^uv cannot build the environment of allensdk \(uv venv\) and said: no such hash$"
    with pytest.raises(OSError, match=message):
        allensdk_environment.command("read")
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_another_list_of_packages_is_another_environment(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = allensdk_environment.command()[0]
    (tmp_path / "other.txt").write_text("six==1.17.0\n")
    monkeypatch.setattr(allensdk_environment, "PACKAGES", tmp_path / "other.txt")
    assert allensdk_environment.command()[0] != first
