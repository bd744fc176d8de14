"""Photographs for training: what comes out of a package, and which squares are cut."""

import csv
import io
import math
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
    pixels = np.arange(shape[0] * shape[1]).reshape(shape)  # every one has a number of its own
    found = photographs.squares_of(pixels)
    sides = [min(shape)] + [min(shape) // 2] * (min(shape) >= 512)
    assert {len(square) for square in found} == set(sides)
    for side in sides:
        of_side = [square for square in found if len(square) == side]
        assert all(square.shape == (side, side) for square in of_side)
        np.testing.assert_array_equal(np.unique(of_side), pixels.ravel())
        assert len(of_side) == math.ceil(shape[0] / side) * math.ceil(shape[1] / side)  # and no more than that takes


def test_squares_that_show_nothing_and_small_photographs_are_left_out() -> None:
    photograph = np.full((600, 1200), 120, np.uint8)
    assert photographs.squares_of(photograph) == []
    photograph[:300, :300] = np.random.default_rng(0).integers(0, 256, (300, 300))
    assert [len(square) for square in photographs.squares_of(photograph)] == [600, 300]
    assert photographs.squares_of(np.random.default_rng(0).integers(0, 256, (200, 900), dtype=np.uint8)) == []
