"""What mkdocs.yml cannot say: the last entry of the menu, files from outside docs/, a screenshot, and formulas.

Pages link to files of the repository; the site brings a copy of each, so that no link leads nowhere. Formulas are LaTeX
between dollars, as GitHub reads them, and become MathML, which browsers draw without a script or a font of ours.
"""

import html
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from math_core import LatexToMathML
from mkdocs.structure.files import File, Files

_OUTSIDE = re.compile(r"\]\(\.\./([^)#\s]+)((?:#[^)]*)?)\)")
_SCREENSHOT = "<!-- screenshot of the report -->"
_FORMULA = re.compile(r'<(div|span) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
_MATHML = LatexToMathML(annotation=True, fancy_error=False)  # the LaTeX stays inside, to be copied


def named(menu: Any) -> list[str]:
    """All pages of a menu, at whatever depth."""
    if isinstance(menu, str):
        return [menu]
    return [page for entry in (menu.values() if isinstance(menu, dict) else menu) for page in named(entry)]


def on_config(config: Any) -> Any:
    """Put pages that the menu does not name under More."""
    there = sorted(path.name for path in Path(config["docs_dir"]).glob("*.md"))
    if more := [page for page in there if page not in named(config["nav"])]:
        config["nav"].append({"More": more})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the files that pages link to, under repository/; a file that is not there stays a broken link."""
    root = Path(config["docs_dir"]).parent
    linked = set()
    for page in files.documentation_pages():
        linked |= {target for target, _ in _OUTSIDE.findall(page.content_string)}
    for target in sorted(linked):
        if (root / target).is_file():
            files.append(File.generated(config, _place(target), content=(root / target).read_bytes()))
    if picture := screenshot(root / "plots/report.html"):
        files.append(File.generated(config, "report.png", content=picture))
    return files


def on_page_markdown(markdown: str, *, files: Files, **_: Any) -> str:
    """Lead links out of docs/ to these copies, and show the screenshot where there is one."""
    shown = "![The top of plots/report.html](report.png)" if files.get_file_from_path("report.png") else ""
    return _OUTSIDE.sub(lambda found: f"]({_place(found[1])})", markdown).replace(_SCREENSHOT, shown)


def on_page_content(content: str, **_: Any) -> str:
    """Formulas as MathML; LaTeX that cannot be read ends the build."""

    def drawn(found: re.Match[str]) -> str:
        block = found[1] == "div"
        formula = _MATHML.convert_with_local_state(html.unescape(found[2]), displaystyle=block)
        return f'<div style="overflow-x: auto">{formula}</div>' if block else formula

    return _FORMULA.sub(drawn, content)


def screenshot(page: Path) -> bytes | None:
    """The top of a page as PNG; None where there is no page or no Chromium to draw it."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None or not page.is_file():
        return None
    with TemporaryDirectory() as folder:
        picture = Path(folder) / "page.png"
        how = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,1100"]
        where = [f"--user-data-dir={folder}/profile", f"--screenshot={picture}", page.resolve().as_uri()]
        subprocess.run([chromium, *how, *where], capture_output=True, check=False)
        return picture.read_bytes() if picture.is_file() else None


def _place(target: str) -> str:
    """Where a file of the repository is in the site; Markdown as text, since it is not a page; hidden folders seen."""
    return f"repository/{target.removeprefix('.')}{'.txt' if target.endswith('.md') else ''}"
