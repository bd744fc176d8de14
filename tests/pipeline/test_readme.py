"""Numbers in the README are those of the results that stand beside it."""

import json
import re

from conftest import ROOT


def test_the_table_of_scores_is_that_of_metrics_json() -> None:
    means = json.loads((ROOT / "metrics" / "metrics.json").read_text())["simulated"]
    text = (ROOT / "README.md").read_text()
    table = re.search(r"<!-- table:scores -->(.*?)<!-- /table:scores -->", text, re.DOTALL)
    assert table is not None
    lines = [line for line in table[1].splitlines() if line.startswith("|")]
    names = [cell.split()[0] for cell in lines[0].strip("|").split("|")]
    found = {}
    for line in lines[2:]:
        run, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        found[run] = {name: float(cell) for name, cell in zip(names[1:], cells, strict=True) if cell}
    assert found.keys() == means.keys()
    for run, values in means.items():
        assert found[run].keys() == values.keys()
        # Another processor may tip the last digit when the pipeline has been run anew.
        assert all(abs(found[run][name] - value) < 0.006 for name, value in values.items()), run


def test_every_file_that_the_readme_links_to_is_there() -> None:
    text = (ROOT / "README.md").read_text()
    missing = [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if not (ROOT / link).exists()]
    assert not missing, f"README.md links to {missing}"
