"""The documentation as pages: every page has a place in the menu, and the build of it is part of what must hold."""

import re
import shutil
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
from conftest import ROOT
from ruamel.yaml import YAML


def no_files() -> Any:
    from mkdocs.structure.files import Files  # where mkdocs is installed

    return Files([])


CONFIG = YAML(typ="safe").load(ROOT / "mkdocs.yml")


def test_the_menu_names_pages_that_are_there_once() -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: make docs")
    named = run_path(str(ROOT / "docs/site.py"))["named"](CONFIG["nav"])
    assert len(named) == len(set(named))
    assert not set(named) - {path.name for path in (ROOT / "docs").glob("*.md")}


def test_a_page_that_no_menu_names_comes_last_and_links_lead_to_copies() -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: make docs")
    site = run_path(str(ROOT / "docs/site.py"))
    menu = [{"Start": "index.md"}, {"Rest": ["limits.md", {"Deeper": ["api.md"]}]}]
    config = site["on_config"]({"docs_dir": str(ROOT / "docs"), "nav": menu})
    more = config["nav"][-1]["More"]
    assert "glossary.md" in more
    assert not {"index.md", "limits.md", "api.md"} & set(more)
    markdown = "[a](../params.yaml) [b](api.md) [c](../stages/pretrain/README.md#x) [d](../.github/a.yaml)"
    assert site["on_page_markdown"](markdown, files=no_files()) == (
        "[a](repository/params.yaml) [b](api.md) [c](repository/stages/pretrain/README.md.txt) "
        "[d](repository/github/a.yaml)"
    )


def test_formulas_are_drawn_by_the_browser_alone() -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: make docs")
    drawn = run_path(str(ROOT / "docs/site.py"))["on_page_content"]
    inline = drawn('<p>A <span class="arithmatex">\\(z_{&lt;l}\\)</span> b</p>')
    assert re.fullmatch(r"<p>A <math>.*<msub>.*&lt;.*</math> b</p>", inline)
    assert '<math display="block">' in drawn('<div class="arithmatex">\\[\n\\hat y\n\\]</div>')
    with pytest.raises(Exception, match=r"\\wrong"):
        drawn('<span class="arithmatex">\\(\\wrong\\)</span>')


def test_the_report_is_shown_as_it_is_where_a_browser_can_draw_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: make docs")
    site = run_path(str(ROOT / "docs/site.py"))
    assert site["screenshot"](tmp_path / "absent.html") is None
    if shutil.which("chromium"):
        (tmp_path / "page.html").write_text("<p style='background: red'>A page</p>")
        assert site["screenshot"](tmp_path / "page.html").startswith(b"\x89PNG")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert site["screenshot"](tmp_path / "page.html") is None
    assert site["on_page_markdown"]("a <!-- screenshot of the report -->", files=no_files()) == "a "


def test_a_reader_fetches_nothing() -> None:
    assert CONFIG["theme"]["font"] is False
    assert "extra_javascript" not in CONFIG
    assert "offline" not in CONFIG["plugins"]  # its script comes from another server


def test_pages_are_built_with_warnings_as_errors_where_all_is_checked() -> None:
    assert re.search(r"^make .*\bdocs\b", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert "mkdocs build --strict" in (ROOT / "Makefile").read_text()
    levels = CONFIG["validation"]
    assert {levels["omitted_files"], *levels["links"].values()} == {"warn"}
