"""The documentation as pages: every page has a place in the menu, and the build of it is part of what must hold."""

import re

from conftest import ROOT
from ruamel.yaml import YAML

CONFIG = YAML(typ="safe").load(ROOT / "mkdocs.yml")


def pages(menu: object) -> list[str]:
    if isinstance(menu, str):
        return [menu]
    return [page for entry in (menu.values() if isinstance(menu, dict) else menu) for page in pages(entry)]


def test_every_page_is_in_the_menu_once() -> None:
    assert sorted(pages(CONFIG["nav"])) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


def test_a_reader_fetches_nothing() -> None:
    assert CONFIG["theme"]["font"] is False
    assert "extra_javascript" not in CONFIG
    assert "offline" not in CONFIG["plugins"]  # its script comes from another server


def test_pages_are_built_with_warnings_as_errors_where_all_is_checked() -> None:
    assert re.search(r"^make docs$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert "mkdocs build --strict" in (ROOT / "Makefile").read_text()
    levels = CONFIG["validation"]
    assert {levels["omitted_files"], *levels["links"].values()} == {"warn"}
