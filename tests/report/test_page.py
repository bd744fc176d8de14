"""The report page: one file, whole in itself, for a phone, the dark, a keyboard, a screen reader and paper."""

import base64
import hashlib
import html
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from spikevaediff.files import tables
from spikevaediff.parameters.runs import read_runs
from spikevaediff.records import ImageSplit
from spikevaediff.report import facts, page, sheet
from spikevaediff.report.facts import Facts
from spikevaediff.report.figures.picture import png_of, subplots
from spikevaediff.report.read import order_unknown

BAD = "<script>alert('x')</script> & \"quotes\""
V4 = Facts(
    source="macaque V4, photographs",
    n_images=5,
    n_tested=5,
    visual="89 units in V4",
    control="the same 89 units, with the responses to each image assigned to another one",
    responses="responses between 0.05 and 0.15 s after onset",
    repeats="one response of each image, a mean over presentations or a single one",
    split="5 folds by image",
    sessions="session 201025",
    averaged=True,
    alone="Whether another recording would give the same: there is one session.",
)
SCORES = {10: 0.5, 11: 0.1, 12: 0.9, 13: -0.2, 14: 0.3}


def picture() -> bytes:
    figure, axes = subplots(figsize=(12, 4))
    axes.plot([0, 1], [0, 1])
    return png_of(figure)


def values(text: str = "text") -> dict[str, Any]:
    """What the template needs, small; `text` stands wherever words from outside could."""
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    rng = np.random.default_rng([3])
    names = ("shown", "posterior mean", "second stage")
    stacks = {name: rng.integers(0, 256, (5, 80, 80, 3), dtype=np.uint8) for name in names}
    ids = sorted(SCORES, key=lambda i: -SCORES[i])
    _, cards = sheet.cards(ids, stacks)
    wide = page.table(text, ["run", *(f"metric {i}" for i in range(14))], [[page.cell(text, text), *["0.123"] * 14]])
    empty = page.table("nothing", ["a"], [])
    groups = {"best": ids[:1], "median": ids[2:3], "worst": ids[-1:]}
    three = {name: stack[[0, 2, 4]] for name, stack in stacks.items()}
    return {
        "title": text,
        "lead": text,
        "contents": page.CONTENTS,
        "analyses": True,
        "parts": params["parts"],
        "warning": text,
        "found": [text],
        "not_shown": [text],
        "compared": [text],
        "n_ranked": 5,
        "rank_by": "pixcorr",
        "gallery": sheet.gallery(groups, three) | {"scores": SCORES},
        **dict.fromkeys(("identified", "scores", "differences", "metrics", "checks", "movies", "mistakes"), wide),
        "absences": wide,
        "pairs": empty,
        "n_areas": 1,
        "sheet": {
            "names": list(names),
            "order": text,
            "columns": [
                {"name": "pixcorr, posterior mean", "larger_is_better": True},
                {"name": "lpips, posterior mean", "larger_is_better": False},
            ],
            "cards": [
                {"id": i, "pictures": card, "scores": f"{SCORES[i]},{2 * SCORES[i] + 1}", "text": text}
                for i, card in zip(ids, cards, strict=True)
            ],
        },
        "figures": dict.fromkeys(page.FIGURES, sheet.lossless(picture())),
        "facts": V4,
        "evidence": {
            "protocol": text,
            "n_images": 5,
            "n_folds": 5,
            "settings": {"n_draws": 100, "seed": 0, "versions": {"numpy": "2"}},
        },
        "there": ["pixcorr"],
        "metric_keys": [],
        "encoding": params["encoding"],
        "decode": params["decode"],
        "models": params["models"]["mini"],
        "regression": {
            "method": "ridge",
            "alphas": [1.0, 10.0],
            "alpha_scope": "target",
            "library": 0,
            "library_weights": [],
            "transform": "none",
            "renormalise": "train",
        },
        "learns_from_movies": False,
        "seed": 0,
        "split_seed": 0,
        "version": "0",
        "sources": {"citation": [text], "licence": text},
        "bibtex": text,
        "parameters": text,
        "not_read": [text],
    }


def whole(text: str = "text") -> str:
    return page.render("page.html", **values(text))


def test_nothing_is_loaded_from_elsewhere_and_one_known_script_runs() -> None:
    text = whole()
    assert set(re.findall(r'src="([a-z]+:)', text)) == {"data:"}
    assert not re.search(r"<link|@import|url\(|https?://|\son[a-z]+=", text)
    assert "default-src 'none'" in text
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}" in text


def test_the_same_results_are_the_same_bytes() -> None:
    assert whole() == whole()


def test_text_cannot_become_markup() -> None:
    text = whole(BAD)
    assert text.count("<script>") == 1
    assert BAD not in text
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &#34;quotes&#34;" in text
    assert 'alt="<' not in text


def test_methods_name_the_mixing_that_was_used() -> None:
    assert "mixing 0.6, guidance" in page.render("page.html", **values("text"))
    without = values("text") | {"facts": replace(V4, described=False)}
    assert "mixing 1, since no image has a caption, guidance" in page.render("page.html", **without)


def test_methods_name_the_seed_of_a_split_that_was_drawn_and_of_no_other() -> None:
    assert "seeds 0 (images), 7 (split), 0 (statistics)" in page.render("methods.html", **values() | {"split_seed": 7})
    assert "seeds 0 (images), 0 (statistics)" in page.render("methods.html", **values() | {"split_seed": None})


def test_methods_name_the_groups_in_which_many_images_are_exchanged() -> None:
    few = " ".join(html.unescape(page.render("methods.html", **values())).split())
    assert "permutations of the pairing within folds [phipson2010permutation], corrected by Holm's method" in few
    given = values() | {"facts": replace(V4, most_exchanged=32)}
    many = " ".join(html.unescape(page.render("methods.html", **given)).split())
    assert " (for scores that compare a pair by itself, within random groups of at most 32 images), corrected" in many


@pytest.mark.parametrize(
    ("sizes", "largest"), [((12,) * 10, 0), ((128, 128), 0), ((982,), 32), ((200, 20), 29), ((129, 100), 100)]
)
def test_images_of_the_largest_group_are_those_that_evaluation_exchanges(sizes: tuple[int, ...], largest: int) -> None:
    """Whatever the mean size of a fold is: two of 200 and 20 images are exchanged in groups, two of 128 are not."""
    fold = np.concatenate([np.repeat(np.arange(len(sizes)), sizes), [-1]])
    assert facts.most_exchanged(ImageSplit(np.arange(len(fold)), fold)) == largest


def test_every_section_is_linked_and_named() -> None:
    text = whole()
    links = re.findall(r'<a href="#([^"]+)">', text)
    assert set(links) == set(re.findall(r'<section id="([^"]+)"', text))
    for heading in re.findall(r'aria-labelledby="([^"]+)"', text):
        assert text.count(f'id="{heading}"') == 1


def test_what_a_screen_reader_needs_is_there() -> None:
    text = whole()
    assert '<html lang="en">' in text
    assert all(re.search(r'alt="[^"]+"', tag) for tag in re.findall(r"<img[^>]*>", text))
    for table in re.findall(r"<table.*?</table>", text, re.DOTALL):
        assert "<caption" in table
        assert 'scope="col' in table
    assert text.count("<h1>") == 1
    assert all(f"<{name}" in text for name in ("main", "nav", "header"))


def test_a_row_can_stand_out_and_a_cell_has_small_print() -> None:
    rows = [["vdvae", page.cell("0.3", "0.2 to 0.4")], ["grey", "0"]]
    text = page.render("page.html", **values() | {"scores": page.table("Means", ["run", "pixcorr"], rows, ["vdvae"])})
    row = '<tr class="strong"><th scope="row">vdvae</th><td>0.3<small>0.2 to 0.4</small></td></tr>'
    assert row in text
    assert '<tr><th scope="row">grey</th><td>0</td></tr>' in text


def test_pictures_get_smaller_and_then_fewer_until_they_fit() -> None:
    pixels = np.random.default_rng([1]).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    stacks = {"shown": pixels, "a": pixels[::-1], "b": pixels}
    size, cards = sheet.cards(range(40), stacks)
    assert size == 96
    assert [[name for name, _ in card] for card in cards] == [["shown", "a", "b"]] * 40
    smaller, cards = sheet.cards(range(40), stacks, n_bytes=200_000)
    assert smaller < 96
    assert sum(len(src) for card in cards for _, src in card) * 3 / 4 < 220_000
    smallest, cards = sheet.cards(range(40), stacks, n_bytes=1000)
    assert smallest == 32
    assert [[name for name, _ in card] for card in cards] == [["shown", "a"]] * 40


def test_a_figure_keeps_its_pixels() -> None:
    from io import BytesIO

    from PIL import Image

    address = sheet.lossless(picture())
    content = base64.b64decode(address.partition("base64,")[2])
    with Image.open(BytesIO(content)) as made, Image.open(BytesIO(picture())) as drawn:
        np.testing.assert_array_equal(np.asarray(made.convert("RGB")), np.asarray(drawn.convert("RGB")))
    assert len(content) < len(picture())


def test_references_are_those_asked_for_in_their_order() -> None:
    text = page.bibtex(["holm1979simple", "child2021very", "holm1979simple"])
    assert re.findall(r"^@\w+\{(\w+),", text, re.MULTILINE) == ["holm1979simple", "child2021very"]
    every = {*page.CITED, *page.OF_METRIC.values(), *page.OF_NETWORK.values()}
    assert len(page.bibtex(sorted(every)).split("\n\n")) == len(every)
    with pytest.raises(KeyError, match="nobody"):
        page.bibtex(["nobody"])


def test_methods_cite_what_stands_among_the_references() -> None:
    methods = (page.TEMPLATES / "methods.html").read_text()
    for key in re.findall(r"\b[a-z]+\d{4}[a-z]+\b", methods):
        assert key in page.CITED


def test_a_mistake_without_chance_or_p_value_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {"pixcorr": 0.25, "pixcorr_chance": None, "p": None, "two_way": 0.5, "contrast": 1.0}
    tables.write(
        tmp_path / "artifacts/known_mistakes.csv", [{"mistake": "nsd_alphas", "what": "One penalty"} | numbers]
    )
    monkeypatch.chdir(tmp_path)
    (row,) = page.mistakes()["rows"]
    assert [one["text"] for one in row] == ["nsd alphas", "0.250", "", "", "0.500", "1.000"]
    assert [one["small"] for one in row[2:4]] == [["not known"]] * 2


def test_methods_speak_of_the_animal_and_areas_of_the_data() -> None:
    text = html.unescape(page.render("methods.html", **values()))
    assert "89 units in V4" in text
    assert "with the responses to each image assigned to another one" in text
    assert "one response of each image" in text
    assert not [word for word in ("mouse", "mice", "hippocamp", "CA1", "VISp") if word in text]


def test_methods_widen_intervals_only_where_folds_share_training_images() -> None:
    given = values()
    shared = "widened for the training images that folds share [nadeau2003inference]"
    assert shared in " ".join(page.render("methods.html", **given).split())
    given["evidence"] = given["evidence"] | {"n_folds": 1}
    text = " ".join(page.render("methods.html", **given).split())
    assert "nadeau2003inference" not in text
    assert "bootstraps over images [efron1987better], or Jeffreys' intervals for proportions [brown2001int" in text
    assert "and the wider of both for comparisons of pairs." in text


def test_methods_tell_what_decides_the_regression() -> None:
    def said(movies: bool = False, **changes: Any) -> str:
        given = values() | {"learns_from_movies": movies}
        given["regression"] = given["regression"] | {"library": 1200} | changes
        return " ".join(html.unescape(page.render("methods.html", **given)).split())

    plain = said()
    assert "one for each target; 1200 photographs that were never shown, with responses predicted by" in plain
    assert "square roots" not in plain
    assert "movies" not in plain
    weighted = said(library_weights=[0.0, 0.3, 1.0])
    assert "one for all targets, and the weight (0.0, 0.3, 1.0) of 1200 photographs that were never shown" in weighted
    assert "both chosen by leaving out training images from all models; predictions renormalised" in weighted
    assert "one for each target" not in weighted
    one = said(library_weights=[0.0, 1.0], alphas=[10.0])
    assert "(penalty 10, one for all targets, and the weight (0.0, 1.0) of 1200 photographs" in one
    nothing = said(library_weights=[0.0, 1.0], library=0)
    assert "weight" not in nothing.split("latents were predicted", 1)[1].split("as in the published method")[0]
    assert "(penalty 10, not chosen; 1200 photographs that were never shown" in said(alphas=[10.0])
    assert "(penalty 10, not chosen; predictions renormalised: train)" in said(alphas=[10.0], library=0)
    assert "frames of movies among the rows" not in said(movies=True, library=0)
    assert "were predicted from square roots of single counts by ridge" in said(transform="square_root")
    filmed = said(movies=True)
    assert "was fitted to training images and frames of movies, with" in filmed
    assert "frames of movies among the rows; predictions renormalised" in filmed
    searched = said(method="kernel_ridge", kernel_ridge={"width_search": "gradient"})
    assert "all multiplied by a factor that was searched for together with the width of the kernel, chosen" in searched


def test_methods_say_how_far_from_samples_and_towards_what() -> None:
    def said(temperature: float, weight: float, share: float = 0.0, **prior: str | float) -> str:
        given = values()
        posterior = given["decode"]["posterior"] | {"temperature": temperature} | prior
        given["decode"] = given["decode"] | {"posterior": posterior, "posterior_images": {"regression_share": share}}
        diffusion = given["models"]["diffusion"] | {"guidance_likelihood": weight, "start_share": share}
        given["models"] = given["models"] | {"diffusion": diffusion}
        return " ".join(html.unescape(page.render("methods.html", **given)).split())

    assert (
        "of size 0.1; temperature 0.35, so that they are nearer to the mode than samples of the posterior). For"
        in said(0.35, 0.5)
    )
    assert "eta 0.0; moved at each step towards what the responses say, weight 0.5)." in said(0.35, 0.5)
    other = said(1.0, 0.0, share=0.5, prior="photographs", prior_weight=0.03, luminance_weight=0.3)
    assert "noise and a prior around training images and the library's photographs, in the latents of a very" in other
    assert (
        "prior weighted by 0.03; coarse luminance as a ridge regression on the responses expects it, weighted by"
        in other
    )
    assert "expects it, weighted by 0.3; 8 steps of Adam" in other
    assert "coarse part of the mean was combined with that of the following regression (share 0.5). For" in other
    assert "eta 0.0; then combined with the coarse part of the posterior mean, share 0.5)." in other
    plain = said(1.0, 0.0, prior="normal", prior_weight=1.0)
    assert "luminance" not in plain.split("posterior", 1)[1].split("Adam")[0]
    assert "noise and the prior of a very deep" in plain
    assert "gaussian likelihood; 16 steps to the mode and 8 steps of Adam" in plain
    assert "of size 0.1). For" in plain
    assert "eta 0.0)." in plain


def test_an_unknown_order_of_presentations_is_read_from_the_data_set(tmp_path: Path) -> None:
    assert order_unknown(tmp_path) == ""
    (tmp_path / "sources.json").write_text('{"licence": "x"}')
    assert order_unknown(tmp_path) == ""
    (tmp_path / "sources.json").write_text('{"order_unknown": "not published"}')
    assert order_unknown(tmp_path) == "not published"


def test_methods_say_which_decoders_are_ones_own() -> None:
    given = values()
    usual = " ".join(html.unescape(page.render("methods.html", **given)).split())
    assert "as in the published method [ozcelik2023natural, li2026spikevaediff]. The second stage is a latent" in usual
    given["decode"] = given["decode"] | {"vdvae": {"module": "mine"}}
    given["models"] = given["models"] | {"diffusion": {"module": "sharper", "amount": 2}}
    own = " ".join(html.unescape(page.render("methods.html", **given)).split())
    assert (
        "li2026spikevaediff], but decoded by the module mine. The second stage is the module sharper, given the" in own
    )
    assert "xu2023versatile" not in own


def test_identification_stands_with_interval_chance_and_p() -> None:
    one = {"n_candidates": 118, "top1": 0.975, "top1_interval": [0.9, 1.0], "chance": 1 / 118, "p_value": 0.0}
    sets = dict.fromkeys(("fold", "all", "library"), one)
    found = page.identified(
        {"identification": {"visual": sets, "control": sets}}, {"visual": ["V4"], "control": "shuffled"}
    )
    assert found["rows"][0][0] == {"text": "visual", "small": ["V4"]}
    assert found["rows"][1][0] == {"text": "control", "small": ["shuffled"]}
    cell = {"text": "0.975", "small": ["0.900 to 1.000", "chance 0.0085", "p < 0.0001"]}
    assert found["rows"][0][1:] == [cell] * 3


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver

    driver_path, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if driver_path is None or chromium is None:
        pytest.skip("no Chromium with its driver is installed (Debian: apt-get install chromium chromium-driver)")
    folder = tmp_path_factory.mktemp("browser")
    (folder / "report.html").write_text(whole())
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-sync"):
        options.add_argument(f"--{word}")
    options.add_argument(f"--user-data-dir={folder / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(driver_path))
    driver.uri = (folder / "report.html").as_uri()
    yield driver
    driver.quit()


def at(driver: Any, width: int, **features: str) -> None:
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    emulated = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": emulated})
    driver.get(driver.uri)


@pytest.mark.slow
def test_a_phone_shows_the_page_without_scrolling_sideways(browser: Any) -> None:
    for width in (1200, 390):
        at(browser, width)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        # Pictures further down are decoded when they come into sight.
        shown = browser.execute_script(
            "document.querySelectorAll('img').forEach(i => { i.loading = 'eager' });"
            "return Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth > 0)))"
        )
        assert len(shown) == 9 + 15 + len(page.FIGURES)
        assert all(shown)
    size = browser.execute_script("return parseFloat(getComputedStyle(document.body).fontSize)")
    assert size >= 16
    # The browser itself refuses anything from outside, and complains of nothing.
    assert browser.get_log("browser") == []


@pytest.mark.slow
def test_the_dark_has_light_text_with_enough_contrast(browser: Any) -> None:
    for scheme in ("dark", "light"):
        at(browser, 1200, prefers_color_scheme=scheme)
        soft = browser.execute_script(
            "const c = document.createElement('canvas').getContext('2d', {willReadFrequently: true});"
            "c.fillStyle = getComputedStyle(document.querySelector('small')).color; c.fillRect(0, 0, 1, 1);"
            "return [...c.getImageData(0, 0, 1, 1).data]"
        )
        soft, back = (np.array(rgb[:3]) / 255 for rgb in (soft, (18, 18, 18) if scheme == "dark" else (255,) * 3))
        light = [
            float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])
            for c in (soft, back)
        ]
        assert (max(light) + 0.05) / (min(light) + 0.05) > 4.5, "WCAG AA"


@pytest.mark.slow
def test_pictures_flicker_for_pointer_and_keyboard_and_come_back(browser: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    at(browser, 1200)
    card = browser.find_element(By.CSS_SELECTOR, ".sheet li")
    shown, first, second = (image.get_attribute("src") for image in card.find_elements(By.TAG_NAME, "img"))
    sources = "return [...document.querySelectorAll('.sheet li:first-child img')].map(i => i.src)"
    wait = WebDriverWait(browser, 5, poll_frequency=0.05)
    ActionChains(browser).move_to_element(card).perform()
    wait.until(lambda d: d.execute_script(sources) == [shown, shown, shown])
    wait.until(lambda d: d.execute_script(sources) == [shown, first, second])
    ActionChains(browser).move_to_element(browser.find_element(By.TAG_NAME, "h1")).perform()
    wait.until(lambda d: d.execute_script(sources) == [shown, first, second])
    # By keyboard: one stop of the tab key, then arrows.
    assert len(browser.find_elements(By.CSS_SELECTOR, ".sheet li[tabindex='0']")) == 1
    browser.execute_script("document.querySelector('.sheet li').focus()")
    wait.until(lambda d: d.execute_script(sources) == [shown, shown, shown])
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert browser.execute_script("return document.activeElement === document.querySelectorAll('.sheet li')[1]")
    assert browser.execute_script(sources) == [shown, first, second]
    # The gallery as well, whose first picture is that of the shown image of its column.
    browser.execute_script("document.querySelector('.gallery tbody tr:nth-child(2) img').focus()")
    column = "return [1, 2].map(r => document.querySelector(`.gallery tbody tr:nth-child(${r}) img`).src)"
    wait.until(lambda d: len(set(d.execute_script(column))) == 1)
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait.until(lambda d: len(set(d.execute_script(column))) == 2)


@pytest.mark.slow
def test_images_are_sorted_and_filtered_by_any_score(browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    at(browser, 1200)
    ids = "return [...document.querySelectorAll('.sheet li:not([hidden])')].map(c => +c.dataset.id)"
    best = sorted(SCORES, key=lambda i: -SCORES[i])
    assert browser.execute_script(ids) == best
    form = browser.find_element(By.ID, "choose")
    score, order = (Select(form.find_element(By.NAME, name)) for name in ("score", "order"))
    order.select_by_value("worst")
    assert browser.execute_script(ids) == best[::-1]
    score.select_by_visible_text("lpips, posterior mean")  # of which less is better
    assert browser.execute_script(ids) == best
    order.select_by_value("id")
    assert browser.execute_script(ids) == sorted(SCORES)
    score.select_by_visible_text("pixcorr, posterior mean")
    form.find_element(By.NAME, "low").send_keys("0.3")
    assert browser.execute_script(ids) == [10, 12, 14]
    assert form.find_element(By.TAG_NAME, "output").text == "3 of 5 images"
    form.find_element(By.NAME, "image").send_keys("12")
    assert browser.execute_script(ids) == [12]


@pytest.mark.slow
def test_without_its_script_everything_is_there_to_be_read(browser: Any) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        at(browser, 1200)
        from selenium.webdriver.common.by import By

        assert len(browser.find_elements(By.CSS_SELECTOR, ".sheet li")) == 5
        assert "Errors and absences" in browser.find_element(By.TAG_NAME, "main").text
        assert not browser.find_element(By.ID, "choose").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_runs_of_the_sheet_and_the_gallery_are_scored() -> None:
    wanted = read_runs(ROOT / "runs.yaml")
    assert set(wanted.sheet) <= set(wanted.scored)
    assert next(iter(wanted.sheet)) == next(iter(wanted.gallery)) == wanted.lead


def test_what_is_left_out_has_no_section_no_figure_and_no_sentence() -> None:
    left_out = {"second_stage": False, "controls": False, "analyses": False}
    given = values() | {"parts": left_out, "analyses": False, "facts": replace(V4, control="")}
    given["contents"] = [one for one in page.CONTENTS if one[1] not in page.OF_ANALYSES]
    given["figures"] = {name: src for name, src in given["figures"].items() if name not in page.OF_ANALYSES}
    text = page.render("page.html", **given)
    for word in (
        "Known mistakes",
        "Areas at equal",
        "The recording",
        "What layers carry",
        "latent diffusion",
        "control is",
    ):
        assert word in whole()
        assert word not in text
    for anchor in re.findall(r'<a href="#([^"]+)">', text):
        assert f'id="{anchor}"' in text


def test_what_movies_add_is_a_table_and_a_block_of_a_movie_has_no_encoding_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {
        "tested": "scenes",
        "learnt_from": "scenes and movies",
        "n_tested": 118,
        "correlation": 0.25,
        "two_way": 0.75,
    }
    block = row | {"tested": "blocks of movies", "n_tested": 112}
    path = tmp_path / "artifacts/movies/gain.csv"
    tables.write(path, [row | {"encoder_r": 0.5}, block | {"encoder_r": None}])
    monkeypatch.chdir(tmp_path)
    first, second = page.movies()["rows"]
    assert [one if isinstance(one, str) else one["text"] for one in first] == [
        *("scenes", "scenes and movies", "0.250", "0.750", "0.500")
    ]
    assert second[0]["small"] == ["112 of them"]
    assert second[4]["small"] == ["not asked"]
    tables.write(path, [])  # no movie is shown
    assert page.movies()["rows"] == []
