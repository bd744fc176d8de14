"""Numbers in the README are those of the results that stand beside it."""

import re
import shutil
from pathlib import Path

from conftest import ROOT

from spikevaediff.report import score_tables


def test_tables_of_scores_are_those_of_the_results(tmp_path: Path) -> None:
    pages = ("README.md", "docs/scores.md", "docs/cowley-v4.md")
    for name in (*pages, "docs/cowley-v4.json", "docs/simulated.json", "metrics/metrics.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    score_tables.write(tmp_path)
    for name in pages:
        written, anew = (cells((folder / name).read_text()) for folder in (ROOT, tmp_path))
        assert written.keys() == anew.keys()
        for row, values in anew.items():
            # Another processor may tip the last digit when the pipeline has been run anew.
            pairs = zip(values, written[row], strict=True)
            close = [abs(a - b) < 0.011 if isinstance(a, float) else a == b for a, b in pairs]
            assert all(close), f"{name}: {row}; renew it with: python -m spikevaediff.report.score_tables"


def cells(text: str) -> dict[tuple[int, str], list[float | str]]:
    """Rows of the marked tables, by their place and first cell; numbers as numbers."""
    found: dict[tuple[int, str], list[float | str]] = {}
    for table in re.findall(r"<!-- table:\w+ -->(.*?)<!-- /table:\w+ -->", text, re.DOTALL):
        for line in table.strip().splitlines():
            first, *others = [cell.strip() for cell in line.strip("|").split("|")]
            found[len(found), first] = [float(c) if re.fullmatch(r"-?[\d.]+", c) else c for c in others]
    assert found
    return found


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 170


def test_every_file_that_the_readme_links_to_is_there() -> None:
    text = (ROOT / "README.md").read_text()
    missing = [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if not (ROOT / link).exists()]
    assert not missing, f"README.md links to {missing}"
