"""The benchmark of growth: the law that is fitted, what is continued, and every stage called at tiny sizes."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from benchmarks import bench_scale
from benchmarks.bench_scale import Point
from benchmarks.scale_stages import PARAMS, STAGES, TINY_SIZES, WANTED


def points(law: float, sizes: tuple[int, ...] = (20, 50, 118)) -> list[Point]:
    return [Point("regress", "images", n, 2.0 * n**law, 100.0 + n, measured=True) for n in sizes]


def test_the_exponent_of_a_known_law_is_found() -> None:
    assert bench_scale.exponents(points(1.5)) == pytest.approx((1.5, 1.5))
    noisy = np.exp(np.random.default_rng(0).normal(0, 0.01, 40))
    size = np.geomspace(10, 1000, 40)
    assert bench_scale.exponent(size, 3 * size**2.0 * noisy) == pytest.approx(2, abs=0.01)


def test_larger_sizes_are_continued_and_marked() -> None:
    found = bench_scale.continued(points(1.5))
    assert [(point.size, point.measured) for point in found[3:]] == [(1200, False), (9000, False)]
    assert [point.cpu_s for point in found[3:]] == pytest.approx([2 * 1200**1.5, 2 * 9000**1.5])
    assert all(math.isnan(point.peak_mb) for point in found[3:])
    assert bench_scale.exponents(found) == pytest.approx((1.5, 1.5))
    row = bench_scale.rows(found)["regress, images"]
    assert all(part in row for part in ("; 118: ", "; *9,000: ", "| 1.50 | 1.50 | 0.2 GB |"))


def test_a_table_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_scale, "TABLE", tmp_path / "scale.csv")
    assert bench_scale.read() == []
    bench_scale.write(bench_scale.continued(points(1.0)))
    again = bench_scale.read()
    assert [point[:3] + point[5:] for point in again] == [p[:3] + p[5:] for p in bench_scale.continued(points(1.0))]
    assert [point.cpu_s for point in again] == pytest.approx([40, 100, 236, 2400, 18000])


def test_what_is_cheap_at_few_images_is_continued_with_exponent_1_at_least() -> None:
    assert bench_scale.continued(points(0.2))[-1].cpu_s == pytest.approx(2 * 118**0.2 * 9000 / 118)


def test_new_points_take_the_place_of_old_ones_in_the_order_of_stages() -> None:
    old = points(1.0)
    report = [point._replace(stage="report") for point in old]
    encode = [point._replace(stage="encode") for point in old]
    new = [point._replace(cpu_s=7.0) for point in old]
    assert bench_scale.merged([*report, *old], [*new]) == [*new, *report]
    assert bench_scale.merged([*report, *new], encode) == [*encode, *new, *report]
    assert bench_scale.merged([old[0]._replace(stage="gone")], new) == new


def test_every_row_of_the_page_has_finite_exponents_and_a_reason_where_it_needs_one() -> None:
    kept = bench_scale.read()
    page = bench_scale.PAGE.read_text(encoding="utf-8")
    rows = bench_scale.rows(kept)
    assert rows
    assert all(row in page for row in rows.values())
    assert page.count("GB |") == len(rows)
    assert all(math.isfinite(point.cpu_s) and point.cpu_s > 0 for point in kept)
    for stage in STAGES:
        own = [point for point in kept if point[:2] == (stage.stage, stage.axis)]
        if not own:
            continue
        assert [point.size for point in own if point.measured] == list(stage.sizes)
        assert own[-1].size == max(WANTED[stage.axis][-1], stage.sizes[-1])
        slopes = bench_scale.exponents(own)
        assert all(map(math.isfinite, slopes))
        assert stage.why or max(slopes) <= 1.1, f"{stage.stage}, {stage.axis}: {slopes} has no reason"


def test_names_are_those_of_stages() -> None:
    pipeline = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    assert all(re.search(rf"^  {stage.stage.split()[0]}:$", pipeline, re.MULTILINE) for stage in STAGES)


def test_a_stage_is_measured_in_a_process_of_its_own() -> None:
    (stage,) = (stage for stage in STAGES if stage.stage == "report (page)")
    found = bench_scale.measure(stage, tiny=True)
    assert [point.size for point in found] == list(TINY_SIZES["images"])
    assert all(point.cpu_s > 0 and point.peak_mb > 20 and point.measured for point in found)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: f"{stage.stage}-{stage.axis}")
def test_every_stage_is_called_at_a_tiny_size(stage: bench_scale.Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_scale, "AGAIN_S", 0.0)
    for name in ("n_samples", "shared_steps", "steps"):
        monkeypatch.setitem(PARAMS["decode"]["posterior"], name, 2)
    size = TINY_SIZES[stage.axis][-1]
    (point,) = bench_scale.calls(stage, [size], tiny=True)
    assert point.size == size
    assert point.cpu_s > 0
