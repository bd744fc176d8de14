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


def rows_of(page: str, name: str) -> tuple[list[str], list[list[str]]]:
    """Names of the columns of a marked table, without the first, and its lines."""
    table = re.search(rf"<!-- table:{name} -->(.*?)<!-- /table:{name} -->", (ROOT / page).read_text(), re.DOTALL)
    assert table is not None
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].strip().splitlines()]
    return [cell.split()[0] for cell in lines[0][1:]], lines[2:]


def test_real_and_simulated_spikes_stand_side_by_side() -> None:
    real = json.loads((ROOT / "docs/cowley-v4.json").read_text())["201025"]["means"]
    simulated = json.loads((ROOT / "metrics/metrics.json").read_text())["simulated"]
    names, lines = rows_of("README.md", "first")
    assert names == ["pixcorr", "ssim", "alexnet2", "alexnet5", "identified"]
    order = [(means, control) for means in (simulated, real) for control in ("", "_control")]
    for (means, control), (label, *cells) in zip(order, lines, strict=True):
        expected = [means[f"posterior{control}"][name] for name in names[:4]]
        expected.append(means[f"identification{control}"]["top1_all"])
        assert all(abs(float(cell) - value) < 0.006 for cell, value in zip(cells, expected, strict=True)), label


def test_the_tables_of_macaque_v4_are_those_of_their_runs() -> None:
    for session, run in json.loads((ROOT / "docs/cowley-v4.json").read_text()).items():
        names, lines = rows_of("docs/cowley-v4.md", session)
        assert {line[0] for line in lines} <= set(run["means"])
        for label, *cells in lines:
            expected = ["" if (value := run["means"][label].get(name)) is None else str(value) for name in names]
            assert cells == expected, label


def test_every_file_that_the_readme_links_to_is_there() -> None:
    text = (ROOT / "README.md").read_text()
    missing = [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if not (ROOT / link).exists()]
    assert not missing, f"README.md links to {missing}"
