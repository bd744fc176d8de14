"""Photographs for training: what comes out of a package, and which squares are cut."""

import csv
import io
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.pretrain import photographs

HERE = Path(photographs.__file__).parent


def rows(name: str) -> list[dict[str, str]]:
    with open(HERE / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def tar(path: Path, files: dict[str, np.ndarray], compression: str) -> bytes:
    """A tar archive of pictures, written to a path."""
    with tarfile.open(path, f"w:{compression}") as archive:
        for name, pixels in files.items():
            content = io.BytesIO()
            Image.fromarray(pixels).save(content, "PNG")
            member = tarfile.TarInfo(name)
            member.size = len(content.getvalue())
            content.seek(0)
            archive.addfile(member, content)
    return path.read_bytes()


def debian(path: Path, files: dict[str, np.ndarray]) -> Path:
    """A Debian package: an ar archive of a version, a control archive and the files."""
    control = tar(path.with_suffix(".control"), {}, "xz")
    data = tar(path.with_suffix(".data"), {f"./{name}": pixels for name, pixels in files.items()}, "xz")
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": control, "data.tar.xz": data}
    content = b"!<arch>\n"
    for name, part in parts.items():
        content += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(part):<10}`\n".encode() + part + b"\n" * (len(part) % 2)
        )
    path.write_bytes(content)
    return path


def test_every_photograph_has_a_package_and_a_licence_and_every_package_a_hash() -> None:
    packages = {row["package"]: row for row in rows("packages.csv")}
    named = rows("photographs.csv")
    assert {row["package"] for row in named} == set(packages)
    assert len({(row["package"], row["file"]) for row in named}) == len(named) > 80
    assert all(row["licence"] and row["author"] for row in named)
    for row in packages.values():
        assert row["url"].startswith("https://")
        assert re.fullmatch("[0-9a-f]{64}", row["sha256"])
        assert int(row["n_bytes"]) > 0


@pytest.mark.parametrize("kind", ["deb", "tgz"])
def test_photographs_of_a_package_are_grey_and_reduced(tmp_path: Path, kind: str) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    files = {"usr/share/small.png": colours, "usr/share/large.png": np.full((1200, 2400), 77, np.uint8)}
    path = tmp_path / f"some.{kind}"
    debian(path, files) if kind == "deb" else tar(path, files, "gz")
    found = photographs.of_archive(path, list(files))
    luma = colours @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(found["usr/share/small.png"], luma, atol=1)
    np.testing.assert_array_equal(found["usr/share/large.png"], np.full((1080, 2160), 77))
    with pytest.raises(
        KeyError, match=rf"some\.{kind} has no file usr/share/absent\.png, which photographs\.csv names"
    ):
        photographs.of_archive(path, ["usr/share/absent.png"])


@pytest.mark.parametrize("shape", [(600, 600), (600, 1000), (1000, 600), (520, 1400), (300, 700)])
def test_squares_of_two_sizes_leave_nothing_out(shape: tuple[int, int]) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]]
    # Every pixel of its own within a square of 700, and contrast everywhere.
    for of in (y, x):
        found = photographs.squares_of((of % 256).astype(np.uint8))
        sides = {len(square) for square in found}
        assert all(square.shape == (len(square),) * 2 for square in found)
        assert sides == {min(shape)} | ({min(shape) // 2} if min(shape) >= 512 else set())
    marked = np.where((y // 20 + x // 20) % 2, 255, 0).astype(np.uint8)
    for side in sides:
        n = [-(-length // side) for length in shape]
        assert sum(len(square) == side for square in photographs.squares_of(marked)) == n[0] * n[1]


def test_squares_that_show_nothing_and_small_photographs_are_left_out() -> None:
    photograph = np.full((600, 1200), 120, np.uint8)
    assert photographs.squares_of(photograph) == []
    photograph[:300, :300] = np.random.default_rng(0).integers(0, 256, (300, 300))
    assert [len(square) for square in photographs.squares_of(photograph)] == [600, 300]
    assert photographs.squares_of(np.random.default_rng(0).integers(0, 256, (200, 900), dtype=np.uint8)) == []
