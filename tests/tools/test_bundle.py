"""Bundles go from one cache to another unchanged, and archives that are none are refused, whatever is in them."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT

from spikevaediff.__main__ import main
from spikevaediff.files import assets
from spikevaediff.parameters.file import read
from spikevaediff.tools import bundle, needs

CONTENT = {
    "first/first.bin": b"one" * 1000,
    "second/second.bin": b"two" * 2000,
    "allen/session_1/session_1.nwb": b"3" * 9,
}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes another folder the cache; two assets are known, of which one is pinned."""
    for name in ("first", "second"):
        content = CONTENT[f"{name}/{name}.bin"]
        pinned = {"sha256": digest(content) if name == "first" else None, "exact": name == "first"}
        known = replace(assets.ASSETS["kl_f8"], name=name, file=f"{name}.bin", bytes=len(content), **pinned)
        monkeypatch.setitem(assets.ASSETS, name, known)

    def chosen(name: str) -> Path:
        monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / name))
        return tmp_path / name

    return chosen


def fill(folder: Path, content: dict[str, bytes] = CONTENT) -> list[needs.Need]:
    for path, data in content.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return [needs.Need(path, folder / path, len(data), True, "tests", True) for path, data in content.items()]


def files(folder: Path) -> dict[str, bytes]:
    """All that lies in a cache but notes and locks."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() or path.is_symlink()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.name != ".lock"}


def notes(content: dict[str, bytes]) -> dict[str, bytes]:
    return {path: data for path, data in content.items() if path.startswith("noted/")}


def test_a_cache_arrives_as_it_was_and_again_is_no_work(cache: Callable[[str], Path], tmp_path: Path) -> None:
    there = cache("there")
    entries = bundle.bundle(fill(there), tmp_path / "b.tar")
    assert {entry.path: entry.sha256 for entry in entries} == {path: digest(data) for path, data in CONTENT.items()}
    bundle.bundle(fill(there), tmp_path / "again.tar")
    assert (tmp_path / "b.tar").read_bytes() == (tmp_path / "again.tar").read_bytes(), "a bundle depends on files alone"
    here = cache("here")
    assert [what for _, what in bundle.unbundle(tmp_path / "b.tar")] == ["unpacked"] * 3
    found = files(here)
    assert {path: found[path] for path in CONTENT} == CONTENT
    assert set(found) - set(CONTENT) == {"noted/second.json"}, "what no table pins is noted as at its first use"
    assert json.loads(notes(found)["noted/second.json"])["sha256"] == digest(CONTENT["second/second.bin"])
    assert assets.state("first") == assets.state("second") == "yes"
    times = {path: (here / path).stat().st_mtime_ns for path in CONTENT}
    assert [what for _, what in bundle.unbundle(tmp_path / "b.tar")] == ["there already"] * 3
    assert {path: (here / path).stat().st_mtime_ns for path in CONTENT} == times


def test_an_unbundling_that_was_broken_off_goes_on(cache: Callable[[str], Path], tmp_path: Path) -> None:
    bundle.bundle(fill(cache("there")), tmp_path / "b.tar")
    here = cache("here")
    first = next(iter(bundle.unbundle(tmp_path / "b.tar")))  # the generator is dropped after one file
    assert first == (here / "first/first.bin", "unpacked")
    assert set(files(here)) == {"first/first.bin"}
    assert [what for _, what in bundle.unbundle(tmp_path / "b.tar")] == ["there already", "unpacked", "unpacked"]


# ---- Bad archives


def listing(content: dict[str, bytes], **changes: object) -> list[dict[str, object]]:
    rows = [{"path": path, "bytes": len(data), "sha256": digest(data)} for path, data in content.items()]
    return [row | changes for row in rows]


def archive(path: Path, rows: object, members: list[tuple[str, bytes | dict]], *, version: object = 1) -> Path:
    """A tar file with this manifest and these members; a dictionary: attributes of a member without content."""
    manifest = json.dumps({"version": version, "files": rows}).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in [("manifest.json", manifest), *members]:
            header = tarfile.TarInfo(name)
            if isinstance(data, dict):
                for key, value in data.items():
                    setattr(header, key, value)
                tar.addfile(header)
            else:
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))
    return path


ONE = {"first/first.bin": CONTENT["first/first.bin"]}
TWO = {"second/second.bin": CONTENT["second/second.bin"]}
WHOLE = [("files/first/first.bin", ONE["first/first.bin"])]
BAD: dict[str, tuple[object, list, dict, str]] = {
    "symbolic link": (
        listing(ONE),
        [("files/first/first.bin", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})],
        {},
        r"files/first/first\.bin is a link, and a bundle holds only files",
    ),
    "hard link": (
        listing(ONE | TWO),
        [*WHOLE, ("files/second/second.bin", {"type": tarfile.LNKTYPE, "linkname": "files/first/first.bin"})],
        {},
        r"files/second/second\.bin is a link",
    ),
    "device": (
        listing(ONE),
        [("files/first/first.bin", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 8})],
        {},
        "is a device",
    ),
    "pipe": (listing(ONE), [("files/first/first.bin", {"type": tarfile.FIFOTYPE})], {}, "is a device"),
    "folder": (listing(ONE), [("files/first", {"type": tarfile.DIRTYPE}), *WHOLE], {}, "files/first is a folder"),
    "absolute path": (listing({"/etc/cron.d/x": b"x"}), [("files//etc/cron.d/x", b"x")], {}, "leads out of the cache"),
    "path upwards": (listing({"allen/../../x": b"x"}), [("files/allen/../../x", b"x")], {}, "leads out of the cache"),
    "windows path": (listing({"allen\\..\\x": b"x"}), [("files/allen\\..\\x", b"x")], {}, "leads out of the cache"),
    "letters that no terminal shows": (
        listing({"allen/\x1b[2Jx": b"x"}),
        [("files/allen/\x1b[2Jx", b"x")],
        {},
        r"'allen/\\x1b\[2Jx' holds what no terminal shows",
    ),
    "half a letter": (listing({"allen/\ud800": b"x"}), [], {}, r"'allen/\\ud800' holds what no terminal shows"),
    "path of no asset": (
        listing({"compiled/program": b"x"}),
        [("files/compiled/program", b"x")],
        {},
        "compiled/program is neither an asset nor a file of a data set",
    ),
    "note of what is right": (
        listing({"noted/second.json": b"{}"}),
        [("files/noted/second.json", b"{}")],
        {},
        r"noted/second\.json is neither an asset nor a file of a data set",
    ),
    "other bytes than listed": (
        listing(TWO),
        [("files/second/second.bin", b"TWO" * 2000)],
        {},
        r"second\.bin has sha256 .*, expected .*: it was damaged\. It was not kept",
    ),
    "other bytes than the table's": (
        listing(ONE, sha256="0" * 64),
        WHOLE,
        {},
        rf"first\.bin has sha256 0{{64}}, expected {digest(ONE['first/first.bin'])}, which first must have",
    ),
    "other size": (listing(ONE, bytes=7), WHOLE, {}, "has 3000 bytes, listed are 7"),
    "not listed": (listing(ONE), [*WHOLE, ("files/second/second.bin", b"x")], {}, "is not listed in its manifest"),
    "outside of files": (listing(ONE), [*WHOLE, ("first/first.bin", b"x")], {}, "is not listed in its manifest"),
    "listed and not there": (listing(ONE | TWO), WHOLE, {}, r"was cut off: second/second\.bin is listed and not there"),
    "twice": (listing(ONE), WHOLE * 2, {}, "is there twice"),
    "listed twice": (listing(ONE) * 2, WHOLE, {}, r"lists first/first\.bin twice"),
    "one name in two cases": (
        listing({"allen/a": b"x", "allen/A": b"y"}),
        [("files/allen/a", b"x"), ("files/allen/A", b"y")],
        {},
        "lists allen/a twice",
    ),
    "a file that is a folder": (
        listing({"allen/a-b": b"x", "allen/A": b"x", "allen/a/c/b": b"y"}),
        [("files/allen/a-b", b"x"), ("files/allen/A", b"x"), ("files/allen/a/c/b", b"y")],
        {},
        "lists allen/a as a file, and allen/a/c/b in it",
    ),
    "no list": ("first/first.bin", WHOLE, {}, r"its manifest\.json is damaged"),
    "no sha256": (
        listing(ONE, sha256="abc"),
        WHOLE,
        {},
        r"manifest\.json is damaged \(first/first\.bin has no sha256\)",
    ),
    "negative size": (listing(ONE, bytes=-1), WHOLE, {}, r"manifest\.json is damaged"),
    "unknown key": (listing(ONE, mode="4755"), WHOLE, {}, r"manifest\.json is damaged"),
    "another version": (listing(ONE), WHOLE, {"version": 2}, "a bundle of version 2, expected 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_archive_is_refused_and_leaves_nothing(name: str, cache: Callable[[str], Path], tmp_path: Path) -> None:
    rows, members, options, says = BAD[name]
    bad, here = archive(tmp_path / "bad.tar", rows, members, **options), cache("here")
    with pytest.raises(ValueError, match=says):
        list(bundle.unbundle(bad))
    assert not here.exists() or files(here) == {}
    assert {path.name for path in tmp_path.iterdir()} <= {"bad.tar", "here"}


def test_a_member_of_fewer_than_no_bytes_does_not_lead_back_to_itself(
    cache: Callable[[str], Path], tmp_path: Path
) -> None:
    bad = archive(tmp_path / "bad.tar", listing(ONE), WHOLE)
    content, here = bytearray(bad.read_bytes()), cache("here")
    start = content.index(b"files/first")
    content[start + 124 : start + 136] = (256**12 - tarfile.BLOCKSIZE).to_bytes(12, "big")
    header = content[start : start + tarfile.BLOCKSIZE]
    header[148:156] = b" " * 8  # as which the sum is counted
    content[start + 148 : start + 156] = b"%06o\0 " % sum(header)
    bad.write_bytes(content)
    with pytest.raises(ValueError, match=r"'files/first/first.bin' has -512 bytes, which none has|not a bundle"):
        list(bundle.unbundle(bad))
    assert not here.exists()


def test_a_manifest_that_takes_long_to_read_is_read_or_refused(cache: Callable[[str], Path], tmp_path: Path) -> None:
    cache("here")
    many = {f"allen/{i}": b"" for i in range(40_000)}
    with pytest.raises(ValueError, match="allen/0 is listed and not there"):
        list(bundle.unbundle(archive(tmp_path / "many.tar", listing(many), [])))
    deep = tmp_path / "deep.tar"
    with tarfile.open(deep, "w") as tar:
        header = tarfile.TarInfo("manifest.json")
        header.size = 10**5
        tar.addfile(header, io.BytesIO(b"[" * 10**5))
    with pytest.raises(ValueError, match=r"manifest\.json is damaged \(maximum recursion depth"):
        list(bundle.unbundle(deep))


@pytest.mark.parametrize("n", [0, 700, 2000, 12_000])
def test_a_cut_archive_is_refused_before_anything_is_unpacked(
    n: int, cache: Callable[[str], Path], tmp_path: Path
) -> None:
    whole = tmp_path / "b.tar"
    bundle.bundle(fill(cache("there")), whole)
    content, here = whole.read_bytes(), cache("here")
    whole.write_bytes(content[:n])
    with pytest.raises(ValueError, match=r"cut off|no bundle"):
        list(bundle.unbundle(whole))
    assert not here.exists()


@pytest.mark.parametrize("content", [b"<html>not found</html>" * 99, b"", b"\x1f\x8b" + b"0" * 999])
def test_what_is_no_archive_is_refused(content: bytes, cache: Callable[[str], Path], tmp_path: Path) -> None:
    cache("here")
    (tmp_path / "b.tar").write_bytes(content)
    with pytest.raises(ValueError, match="is not a bundle, or was cut off"):
        list(bundle.unbundle(tmp_path / "b.tar"))
    with pytest.raises(FileNotFoundError, match=r"gone\.tar does not exist"):
        list(bundle.unbundle(tmp_path / "gone.tar"))


def test_an_archive_without_a_manifest_is_refused(cache: Callable[[str], Path], tmp_path: Path) -> None:
    cache("here")
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("files/first/first.bin"))
    with pytest.raises(ValueError, match=r"it does not begin with manifest\.json"):
        list(bundle.unbundle(tmp_path / "b.tar"))


def test_files_of_the_cache_are_never_replaced(cache: Callable[[str], Path], tmp_path: Path) -> None:
    bundle.bundle(fill(cache("there")), tmp_path / "b.tar")
    here = cache("here")
    fill(here, {"second/second.bin": b"mine"})
    with pytest.raises(
        ValueError, match=r"second\.bin has other bytes than .*b\.tar\. If those of the bundle are right"
    ):
        list(bundle.unbundle(tmp_path / "b.tar"))
    assert files(here) == {"second/second.bin": b"mine"}, "nothing is unpacked beside it"
    (here / "second/second.bin").unlink()
    (here / "second/second.bin").mkdir()
    with pytest.raises(ValueError, match=r"second\.bin is not a file"):
        list(bundle.unbundle(tmp_path / "b.tar"))


def test_what_was_noted_at_its_first_use_holds(cache: Callable[[str], Path], tmp_path: Path) -> None:
    bundle.bundle(fill(cache("there")), tmp_path / "b.tar")
    here = cache("here")
    fill(here, {"noted/second.json": json.dumps({"sha256": "5" * 64}).encode()})
    with pytest.raises(ValueError, match=r"second/second\.bin has sha256 .*, expected 5{64}, which second must have"):
        list(bundle.unbundle(tmp_path / "b.tar"))


def test_a_link_in_the_cache_leads_nothing_out_of_it(cache: Callable[[str], Path], tmp_path: Path) -> None:
    bundle.bundle(fill(cache("there")), tmp_path / "b.tar")
    here, outside = cache("here"), tmp_path / "outside"
    outside.mkdir()
    here.mkdir()
    (here / "allen").symlink_to(outside)
    with pytest.raises(ValueError, match=r"session_1\.nwb is not unpacked, since .* leads out of"):
        list(bundle.unbundle(tmp_path / "b.tar"))
    assert not [path for path in outside.rglob("*") if path.is_file() and path.name != ".lock"]


def test_too_little_space_is_said_before_anything_is_written(
    cache: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = fill(cache("there"))
    bundle.bundle(some, tmp_path / "b.tar")
    monkeypatch.setattr(bundle.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 5000}))
    with pytest.raises(OSError, match=r"the bundle takes 9\.01 kB, and .* has only 5 kB free"):
        bundle.bundle(some, tmp_path / "c.tar")
    here = cache("here")
    with pytest.raises(OSError, match=r"b\.tar needs 9\.01 kB, and .* has only 5 kB free"):
        list(bundle.unbundle(tmp_path / "b.tar"))
    assert files(here) == {}


# ---- The commands, with the files of the default run that this machine has


def test_the_default_run_is_bundled_and_unbundled_by_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    wanted = [need for need in needs.needs(read(ROOT), ROOT) if need.required]
    if lacking := [need.name for need in wanted if need.state != "have"]:
        pytest.skip(f"assets of the default run are not on this machine: {', '.join(lacking)}")
    assert main(["assets", "bundle", str(tmp_path / "b.tar")]) == 0
    said = capsys.readouterr().out
    assert "6 files, 2" in said
    assert "not included, since a run can do without (its metrics are then absent): inception_v3, clip_vit_l14" in said
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / "here"))
    assert main(["assets", "unbundle", str(tmp_path / "b.tar")]) == 0
    assert capsys.readouterr().out.count("unpacked: ") == 6
    assert [assets.state(need.name) for need in wanted] == ["yes"] * 6
    assert main(["assets", "unbundle", str(tmp_path / "gone.tar")]) == 1
    assert "gone.tar does not exist" in capsys.readouterr().err
