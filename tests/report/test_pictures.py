"""Picture files of every kind: converted by a rule that is told, or refused; docs/pictures.md is the table."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from spikevaediff.images import read_picture

GREY = np.random.default_rng([7]).integers(0, 256, (12, 9), dtype=np.uint8)
COLOUR = np.random.default_rng([8]).integers(0, 256, (12, 9, 3), dtype=np.uint8)
DEEP = np.linspace(0, 65535, 108).round().astype(np.uint16).reshape(12, 9)
# What a viewer shows of stored rows and columns, by the orientation tag; from its definition in EXIF 2.3.
UPRIGHT: dict[int, Any] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: a[::-1].T,
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: a.T[::-1],
}


def tiff(path: Path, data: bytes, shape: tuple[int, int], bits: int, **tags: int) -> Path:
    """An uncompressed TIFF of one strip, as Pillow itself does not write it: numbers with a sign, 12 bits, planes."""
    n = tags.get("samples", 1)
    entries = [
        (256, [shape[1]]),
        (257, [shape[0]]),
        (258, [bits] * n),
        (259, [1]),
        (262, [tags.get("photometric", 1)]),
        (273, None),
        (277, [n]),
        (278, [shape[0]]),
        (279, [len(data)]),
        (284, [tags.get("planes", 1)]),
        (339, [tags.get("sample_format", 1)] * n),
    ]
    start, behind = 8 + 2 + 12 * len(entries) + 4, b""
    directory = struct.pack("<H", len(entries))
    for tag, values in entries:
        if values is None:
            directory += struct.pack("<HHII", tag, 4, 1, start + 12 * (n > 2))
        elif len(values) < 3:
            inline = struct.pack(f"<{len(values)}H", *values).ljust(4, b"\0")
            directory += struct.pack("<HHI", tag, 3, len(values)) + inline
        else:
            directory += struct.pack("<HHII", tag, 3, len(values), start + len(behind))
            behind += struct.pack(f"<{len(values)}H", *values)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + behind + data)
    return path


def png(path: Path, samples: np.ndarray, colour_type: int, *, transparent: int | None = None) -> Path:
    """A PNG of 16 bit, in colour or with a transparent grey, which Pillow does not write."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples.reshape(height, -1))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    key = b"" if transparent is None else chunk(b"tRNS", struct.pack(">H", transparent))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + key + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "webp", "raw.tif", "packed.tif"])
def test_pictures_are_turned_as_their_orientation_says(tmp_path: Path, kind: str, orientation: int) -> None:
    path, image = tmp_path / f"a.{kind}", Image.fromarray(GREY)
    if kind.endswith("tif"):
        image.save(path, compression="tiff_lzw" if kind == "packed.tif" else None, tiffinfo={274: orientation})
    else:
        exif = Image.Exif()
        exif[274] = orientation
        image.save(path, exif=exif, **({"lossless": True} if kind == "webp" else {}))
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.grey, UPRIGHT[orientation](GREY))
    assert picture.notes == (("turned as its orientation tag says",) if orientation > 1 else ())


def test_a_photograph_on_its_side_is_turned(tmp_path: Path) -> None:
    """JPEG, as telephones write it: the left half is black, tag 6 turns it to the top."""
    exif, side = Image.Exif(), np.zeros((32, 64), np.uint8)
    exif[274] = 6
    side[:, 32:] = 255
    Image.fromarray(side).save(tmp_path / "a.jpg", exif=exif)
    grey = read_picture(tmp_path / "a.jpg").grey
    assert grey.shape == (64, 32)
    assert grey[:28].max() < 10
    assert grey[36:].min() > 245


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_keep_their_levels(tmp_path: Path, name: str) -> None:
    Image.fromarray(DEEP).save(tmp_path / name)
    picture = read_picture(tmp_path / name)
    np.testing.assert_array_equal(picture.grey, np.rint(DEEP / 257))
    assert picture.notes == ()


def test_sixteen_bits_in_colour_keep_theirs(tmp_path: Path) -> None:
    grey = np.repeat(DEEP[..., None], 3, axis=2)
    for path in (
        png(tmp_path / "a.png", grey, 2),
        png(tmp_path / "b.png", np.stack([DEEP, np.full_like(DEEP, 65535)], -1), 4),
        tiff(tmp_path / "a.tif", grey.tobytes(), DEEP.shape, 16, samples=3, photometric=2),
    ):
        assert np.abs(read_picture(path).grey.astype(float) - DEEP / 257).max() <= 1


@pytest.mark.parametrize("largest", [255, 1023, 4095, 16383, 32767])
def test_sixteen_bits_that_hold_fewer_are_refused(tmp_path: Path, largest: int) -> None:
    """12 bits in a file of 16 would become 17 grey levels, 8 bits two."""
    few = (DEEP / 65535 * largest).round().astype(np.uint16)
    colour = np.repeat(few[..., None], 3, axis=2)
    Image.fromarray(few).save(tmp_path / "a.png")
    Image.fromarray(few).save(tmp_path / "a.tif")
    # The same 12 bits on a pedestal, as numbers with a sign are saved.
    Image.fromarray(np.uint16(40000) + few // 8).save(tmp_path / "b.png")
    for path in (
        *(tmp_path / name for name in ("a.png", "a.tif", "b.png")),
        png(tmp_path / "c.png", colour, 2),
        tiff(tmp_path / "c.tif", colour.tobytes(), DEEP.shape, 16, samples=3, photometric=2),
    ):
        with pytest.raises(ValueError, match=r"its numbers of 16 bit lie between \d+ and \d+, of 0 to 65535: .* 8 bit"):
            read_picture(path)


def test_a_tiff_that_says_12_bits_is_read_as_such(tmp_path: Path) -> None:
    values = np.linspace(0, 4095, 96).round().astype(int).reshape(12, 8)
    pairs = values.reshape(-1, 2)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=1)
    path = tiff(tmp_path / "a.tif", packed.astype(np.uint8).tobytes(), values.shape, 12)
    np.testing.assert_array_equal(read_picture(path).grey, np.rint(values / 4095 * 255))


@pytest.mark.parametrize(("bits", "values"), [(8, GREY), (16, DEEP)])
def test_a_tiff_in_which_0_is_white_is_inverted(tmp_path: Path, bits: int, values: np.ndarray) -> None:
    picture = read_picture(tiff(tmp_path / "a.tif", values.tobytes(), values.shape, bits, photometric=0))
    np.testing.assert_array_equal(picture.grey, np.rint(255 - values * (255 / (2**bits - 1))))
    assert picture.notes == ("inverted, since 0 is white in the file",)


@pytest.mark.parametrize(
    ("values", "sample_format", "says"),
    [
        (DEEP.astype(np.int64).astype(np.int16), 2, "whole numbers of 32 bit or with a sign"),
        (DEEP.astype(np.uint32) * 65537, 1, "whole numbers of 32 bit or with a sign"),
        ((DEEP / 65535).astype(np.float32), 3, "floating-point numbers"),
    ],
)
def test_numbers_of_which_nobody_knows_the_white_are_refused(
    tmp_path: Path, values: np.ndarray, sample_format: int, says: str
) -> None:
    bits = values.dtype.itemsize * 8
    path = tiff(tmp_path / "a.tif", values.tobytes(), values.shape, bits, sample_format=sample_format)
    with pytest.raises(ValueError, match=rf"its pixels are {says}, and which of them is white is not known"):
        read_picture(path)


def test_colours_of_16_bit_in_planes_are_refused(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", np.stack([DEEP] * 3).tobytes(), DEEP.shape, 16, samples=3, photometric=2, planes=2)
    with pytest.raises(ValueError, match="separate planes, which cannot be read"):
        read_picture(path)


def with_alpha(folder: Path, alpha: np.ndarray) -> list[Path]:
    """The same picture with an opacity, in every way that files have for it."""
    Image.fromarray(np.dstack([COLOUR, alpha])).save(folder / "rgba.png")
    Image.fromarray(np.dstack([COLOUR, alpha])).save(folder / "rgba.tif")
    Image.fromarray(np.dstack([GREY, alpha]), "LA").save(folder / "la.png")
    sixteen = np.where(alpha == 255, 65535, 0)
    png(folder / "deep.png", np.stack([DEEP, sixteen], -1), 4)
    return [folder / name for name in ("rgba.png", "rgba.tif", "la.png", "deep.png")]


def test_an_opaque_alpha_channel_changes_nothing(tmp_path: Path) -> None:
    rgba, tif, la, _ = with_alpha(tmp_path, np.full(GREY.shape, 255, np.uint8))
    np.testing.assert_array_equal(read_picture(la).grey, GREY)
    for path in (rgba, tif):
        assert np.abs(read_picture(path).grey - COLOUR @ [0.299, 0.587, 0.114]).max() <= 1


def test_transparency_is_refused_however_it_is_kept(tmp_path: Path) -> None:
    alpha = np.full(GREY.shape, 255, np.uint8)
    alpha[3, 4] = 0
    paths = with_alpha(tmp_path, alpha)
    levels = Image.fromarray(GREY // 8)
    levels.convert("P").save(tmp_path / "palette.png", transparency=int(GREY[0, 0] // 8))
    levels.convert("P").save(tmp_path / "palette.gif", transparency=int(GREY[0, 0] // 8))
    Image.fromarray(GREY).save(tmp_path / "key.png", transparency=int(GREY[0, 0]))
    png(tmp_path / "deep_key.png", DEEP, 0, transparent=int(DEEP[5, 5]))
    for path in [*paths, *(tmp_path / n for n in ("palette.png", "palette.gif", "key.png", "deep_key.png"))]:
        with pytest.raises(ValueError, match="some of it is transparent, and what was behind it is not known"):
            read_picture(path)


def test_palettes_and_black_and_white_are_their_greys(tmp_path: Path) -> None:
    Image.fromarray(GREY).convert("P").save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "palette.png").grey, GREY)
    Image.fromarray(GREY > 127).save(tmp_path / "one.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "one.png").grey, np.where(GREY > 127, 255, 0))
    Image.fromarray(GREY).save(tmp_path / "still.gif")
    np.testing.assert_array_equal(read_picture(tmp_path / "still.gif").grey, GREY)


@pytest.mark.parametrize("name", ["inks.tif", "inks.jpg", "lab.tif"])
def test_inks_and_lab_are_refused(tmp_path: Path, name: str) -> None:
    lab = Image.fromarray(COLOUR).convert("LAB")
    (lab if name == "lab.tif" else Image.fromarray(np.dstack([COLOUR, GREY]), "CMYK")).save(tmp_path / name)
    says = "of the kind LAB" if name == "lab.tif" else "amounts of four inks, and their grey depends on the paper"
    with pytest.raises(ValueError, match=f"its pixels are {says}"):
        read_picture(tmp_path / name)


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.png", "a.webp"])
def test_several_pictures_in_a_file_are_refused(tmp_path: Path, name: str) -> None:
    frames = [Image.fromarray(image) for image in (GREY, 255 - GREY, GREY)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="it holds 3 pictures; save the one that was shown"):
        read_picture(tmp_path / name)


def test_a_jpeg_with_a_preview_is_its_first_picture(tmp_path: Path) -> None:
    first = Image.fromarray(COLOUR)
    first.save(tmp_path / "a.mpo", save_all=True, append_images=[Image.fromarray(255 - COLOUR)], quality=100)
    (tmp_path / "a.mpo").rename(tmp_path / "a.jpg")
    picture = read_picture(tmp_path / "a.jpg")
    assert np.abs(picture.grey - COLOUR @ [0.299, 0.587, 0.114]).max() < 30
    assert picture.notes == ("of several pictures in the file the first is taken",)


def test_a_colour_profile_is_told_where_it_is_not_srgb(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(COLOUR).save(tmp_path / "srgb.png", icc_profile=srgb)
    other = srgb.replace("sRGB".encode("utf-16-be"), "wide".encode("utf-16-be")).replace(b"sRGB", b"wide")
    assert other != srgb
    Image.fromarray(COLOUR).save(tmp_path / "wide.png", icc_profile=other)
    assert read_picture(tmp_path / "srgb.png").notes == ()
    assert read_picture(tmp_path / "wide.png").notes == ("has a colour profile other than sRGB, which is not applied",)


def test_a_file_that_may_not_be_opened_is_no_bad_picture(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it cannot be opened: No such file or directory"):
        read_picture(tmp_path / "none.png")
