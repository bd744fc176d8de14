"""What mkdocs.yml cannot say: the last entry of the menu, files from outside docs/, and formulas.

Pages link to files of the repository; the site brings a copy of each, so that no link leads nowhere. Formulas are LaTeX
between dollars, as GitHub reads them, and become MathML, which browsers draw without a script or a font of ours.
"""

import html
import re
from pathlib import Path
from typing import Any

from math_core import LatexToMathML
from mkdocs.structure.files import File, Files

_OUTSIDE = re.compile(r"\]\(\.\./([^)#\s]+)((?:#[^)]*)?)\)")
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
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links out of docs/ to these copies."""
    return _OUTSIDE.sub(lambda found: f"]({_place(found[1])})", markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Formulas as MathML; LaTeX that cannot be read ends the build."""

    def drawn(found: re.Match[str]) -> str:
        block = found[1] == "div"
        formula = _MATHML.convert_with_local_state(html.unescape(found[2]), displaystyle=block)
        return f'<div style="overflow-x: auto">{formula}</div>' if block else formula

    return _FORMULA.sub(drawn, content)


def _place(target: str) -> str:
    """Where a file of the repository is in the site; Markdown as text, since it is not a page; hidden folders seen."""
    return f"repository/{target.removeprefix('.')}{'.txt' if target.endswith('.md') else ''}"
