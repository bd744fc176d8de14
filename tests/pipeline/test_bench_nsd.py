"""The benchmark at the size of the Natural Scenes Dataset: a tiny one of every step, and the table of the page."""

from pathlib import Path

import pytest

from benchmarks import bench_nsd


def test_the_page_has_the_table_that_the_benchmark_replaces(tmp_path: Path) -> None:
    page = tmp_path / "nsd.md"
    text = bench_nsd.PAGE.read_text(encoding="utf-8")
    page.write_text(text, encoding="utf-8")
    times = {"cpu_s": 600.0, "clock_s": 660.0, "peak_gb": 9.25, "peer_s": 36000.0}
    bench_nsd.put_into(page, bench_nsd.table([{"space": "vdvae", "n_targets": 91168} | times]))
    new = page.read_text(encoding="utf-8")
    assert "| vdvae | 91,168 | 50,000 | 10 min, 11 min | 9.2 GB | 10.0 h | 60 |\n" in new
    rows = [line for line in text.splitlines() if not line.startswith("| vdvae |")]
    assert [line for line in new.splitlines() if not line.startswith("| vdvae |")] == rows
    page.write_text("no table", encoding="utf-8")
    with pytest.raises(ValueError, match="has no table that begins with"):
        bench_nsd.put_into(page, "")


def test_sizes_are_those_of_the_publication() -> None:
    full = bench_nsd.FULL
    assert {space: sum(groups) for space, groups in full.groups.items()} == {
        "vdvae": 91168,
        "text": 59136,
        "vision": 197376,
    }
    assert (full.n_train, full.n_test, full.n_voxels) == (8859, 982, 15724)


@pytest.mark.slow
def test_predictions_are_those_of_scikit_learn(tmp_path: Path) -> None:
    rows = bench_nsd.measure(tmp_path, bench_nsd.SMALL, 1.0, ["vdvae", "text", "vision"])
    assert [row["space"] for row in rows] == ["vdvae", "text", "vision"]
    assert [row["n_targets"] for row in rows] == [96, 72, 96]
    assert rows[0]["difference"] < 1e-5
    assert all(row["cpu_s"] > 0 and row["peak_gb"] > 0.05 for row in rows)
    assert not list((tmp_path / "artifacts/features").iterdir())
