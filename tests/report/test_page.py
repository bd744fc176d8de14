"""The report page: one file, whole in itself, readable on a phone."""

import html
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from spikevaediff.files import tables
from spikevaediff.report import page
from spikevaediff.report.figures.gallery import plt, png_of
from stages import page as stage


def picture() -> bytes:
    figure, axes = plt.subplots(figsize=(12, 4))
    axes.plot([0, 1], [0, 1])
    return png_of(figure)


def whole() -> str:
    rng = np.random.default_rng([3])
    pixels = rng.integers(0, 256, (5, 80, 80, 3), dtype=np.uint8)
    sections = [
        page.Section("Scores", page.table(["run", *(f"metric {i}" for i in range(12))], [["vdvae", *["0.123"] * 12]])),
        page.Section("A wide picture", page.figure(picture(), "a line", "It rises.")),
        page.Section("Every image", page.sheet(range(5), {"shown": pixels}, dict.fromkeys(range(5), "pixcorr 0.3"))),
    ]
    return page.page("A title", "What was run.", sections)


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = whole()
    assert set(re.findall(r'src="([a-z]+:)', text)) == {"data:"}
    assert not re.search(r"<script|<link|@import|url\(|https?://", text)
    assert "default-src 'none'" in text


def test_the_same_results_are_the_same_bytes() -> None:
    assert whole() == whole()


def test_text_cannot_become_markup() -> None:
    bad = "<script>alert('x')</script> & \"quotes\""
    text = page.page(
        bad,
        bad,
        [
            page.Section(
                bad,
                page.paragraphs(bad)
                + page.bullets([bad])
                + page.table([bad], [[(bad, bad)]], caption=bad)
                + page.figure(b"", bad, bad)
                + page.folded(bad, page.verbatim(bad))
                + page.sheet([0], {bad: np.zeros((1, 8, 8, 3), np.uint8)}, {0: bad}),
            )
        ],
    )
    assert "<script>" not in text
    assert html.escape(bad) in text
    assert 'alt="<' not in text


def test_every_section_is_linked() -> None:
    text = whole()
    for anchor in re.findall(r'<a href="#([^"]+)">', text):
        assert f'id="{anchor}"' in text
    assert 'href="#a-wide-picture"' in text


def test_two_sections_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the same anchor: scores, scores"):
        page.page("t", "l", [page.Section("Scores", ""), page.Section("Scores!", "")])


def test_a_row_can_stand_out_and_a_cell_has_small_print() -> None:
    text = page.table(["run", "pixcorr"], [["vdvae", ("0.3", "0.2 to 0.4")], ["grey", "0"]], strong=["vdvae"])
    assert '<tr class="strong"><td>vdvae</td><td>0.3<small>0.2 to 0.4</small></td></tr>' in text
    assert text.count("strong") == 1


@pytest.mark.slow
def test_a_phone_shows_the_page_without_scrolling_sideways(tmp_path: Path) -> None:
    from selenium import webdriver

    driver_path, browser = shutil.which("chromedriver"), shutil.which("chromium")
    if driver_path is None or browser is None:
        pytest.skip("no Chromium with its driver is installed (Debian: apt-get install chromium chromium-driver)")
    path = tmp_path / "report.html"
    path.write_text(whole())
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for word in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-sync"):
        options.add_argument(f"--{word}")
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(driver_path))
    try:
        for width in (1200, 390):
            driver.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
            )
            driver.get(path.as_uri())
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width
            shown = driver.execute_script("return [...document.images].map(i => i.complete && i.naturalWidth > 0)")
            assert len(shown) == 6
            assert all(shown)
            assert driver.save_screenshot(str(tmp_path / f"{width}.png"))
        size = driver.execute_script("return parseFloat(getComputedStyle(document.body).fontSize)")
        assert size >= 16
        # The browser itself refuses anything from outside, and complains of nothing.
        assert driver.get_log("browser") == []
    finally:
        driver.quit()


def test_a_mistake_without_chance_or_p_value_has_empty_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {"pixcorr": 0.25, "pixcorr_chance": None, "p": None, "two_way": 0.5, "contrast": 1.0}
    tables.write(
        tmp_path / "artifacts/known_mistakes.csv", [{"mistake": "nsd_alphas", "what": "One penalty"} | numbers]
    )
    monkeypatch.chdir(tmp_path)
    assert "<td>0.250</td><td></td><td></td><td>0.500</td><td>1.000</td>" in stage.mistakes()


@pytest.mark.parametrize("dataset", ["cowley_v4", "simulated"])
def test_the_areas_that_are_told_are_those_that_were_asked_for(dataset: str) -> None:
    params = YAML(typ="safe").load(ROOT / "params.yaml") | {"dataset": dataset}
    if dataset == "cowley_v4":
        params["areas"] = {"visual": ["V4"], "control": "shuffled"}
    params["datasets"] = params["datasets"][dataset]
    evidence = {"protocol": "strict", "settings": {"n_draws": 100, "versions": {"numpy": "2"}}}
    text = html.unescape(stage.what_was_run(params, evidence))
    of_mice = [word for word in ("mouse", "mice", "hippocamp", "CA1", "VISp", "visual cortex") if word in text]
    if dataset == "cowley_v4":
        assert "Population visual: units in V4." in text
        assert "Population control: shuffled, the units of the others, each image's responses taken for" in text
        assert of_mice == []
    else:
        assert "Population control: units in CA1." in text
        assert {"mice", "VISp"} <= set(of_mice)


def test_identification_stands_with_interval_chance_and_p(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots/identification.png").write_bytes(picture())
    monkeypatch.chdir(tmp_path)
    one = {"top1": 0.975, "top1_interval": [0.9, 1.0], "chance": 1 / 118, "p_value": 0.0}
    text = stage.identified({"identification": {"visual": dict.fromkeys(("fold", "all", "library"), one)}})
    cell = "<td>0.975<small>0.900 to 1.000</small><small>chance 0.0085</small><small>p 0.0000</small></td>"
    assert f"<td>areas.visual</td>{cell * 3}" in text
