"""plots/report.html: everything about a run on one page that needs no network and no other file.

Pictures are inside as data, so the page can be mailed, and it reads on a phone, in the dark, by a screen reader, on
paper and without its script. It is a function of the results alone, without date or machine, so that the same results
are the same bytes. Numbers and figures are those of metrics/ and plots/; nothing is computed here.
"""

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from ruamel.yaml import YAML

from spikevaediff import __version__, images
from spikevaediff.encoding import identification
from spikevaediff.files import tables
from spikevaediff.parameters.of_space import of_space
from spikevaediff.parameters.runs import Runs, population_labels
from spikevaediff.records import Reconstructions, Stimuli
from spikevaediff.report import facts, sheet, verdict
from spikevaediff.report.ranks import by_score, ranked_groups
from spikevaediff.report.read import order_unknown, read_json
from spikevaediff.report.unread import unread, without

TEMPLATES = Path(__file__).parent / "templates"
CONTENTS = (
    ("Verdict", "verdict"),
    ("Shown and reconstructed", "pictures"),
    ("What it does not show", "not-shown"),
    ("Which image was shown", "which-image"),
    ("What units respond to", "units"),
    ("Scores", "scores"),
    ("Every image", "every-image"),
    ("Errors and absences", "absent"),
    ("What is predicted", "latents"),
    ("The regression", "regression"),
    ("Areas", "areas"),
    ("Curves", "curves"),
    ("The recording", "recording"),
    ("Known mistakes", "mistakes"),
    ("Methods", "methods"),
)
FIGURES = (
    *("identification", "encoding", "scores", "latents", "noise_ceiling", "layers", "left_out", "search", "bands"),
    *("regions", "curves", "quality"),
)
OF_ANALYSES = ("areas", "curves", "recording", "mistakes", "regions", "quality", "layers")  # sections, figures
SIMULATED = (
    "The spikes of this data set are simulated: {tuning} with gain noise, shared fluctuations and drift, calibrated to "
    "published rates, reliabilities and decoding accuracy. No number here is about real animals."
)
TUNING = {"gabor": "Gabor-like tuning", "network": "normalised activations of EfficientNet-lite0"}  # by profile
OF_TUNING = {"network": " The metric efficientnet_lite0 compares images in features of the same network."}
CITED = (
    *("child2021very", "ozcelik2023natural", "li2026spikevaediff", "xu2023versatile", "phipson2010permutation"),
    *("holm1979simple", "efron1987better", "brown2001interval", "nadeau2003inference"),
)
SECOND_STAGE = "xu2023versatile"  # cited where there is one
OF_METRIC = {"ssim": "wang2004image", "lpips": "zhang2018unreasonable"}
OF_NETWORK = {"AlexNet": "krizhevsky2014one", "EfficientNet": "tan2019efficientnet"}

_AMONG = ("among images of the fold", "among all images", "among the library's photographs")
SETS = dict(zip(identification.SETS, _AMONG, strict=True))

Cell = dict[str, Any]  # text; small: lines below it in small print
Table = dict[str, Any]  # caption, columns, rows of cells, strong: texts of the first cells of rows that stand out


def of_run(params: Mapping[str, Any], wanted: Runs) -> str:
    """The whole page, from artifacts/, metrics/ and plots/.

    Parameters
    ----------
    params : mapping
        Parameters that decided something, as in params.yaml.
    wanted : Runs

    Raises
    ------
    FileNotFoundError, KeyError, ValueError
        A result is absent or damaged.
    """
    ((name, evidence),) = read_json("metrics/statistics.json").items()
    about = facts.of_run(params["dataset"], params["areas"], params["split"]["method"])
    shown = Stimuli.load("artifacts/images.npz")
    rank_by, n_each = params["report"]["rank_by"], params["report"]["n_each"]
    scores = {run: read_json(f"artifacts/scores/{run}.json")["metrics"] for run in wanted.sheet}
    ranked, groups = ranked_groups(scores[wanted.lead], rank_by=rank_by, n_each=n_each)
    ids = [i for group in groups.values() for i in group]
    every = by_score(ranked, larger_is_better=scores[wanted.lead][rank_by]["larger_is_better"])
    stacks = {run: decoded(run, every) for run in wanted.sheet}
    rows = {label.format(control=facts.short(params["areas"]["control"])): run for run, label in wanted.gallery.items()}
    pictures = {"shown": images.rgb(shown.rows(np.array(ids)))}
    places = [every.index(i) for i in ids]
    pictures |= {name: stacks[run][places] if run in stacks else decoded(run, ids) for name, run in rows.items()}
    ignored = list(dict.fromkeys([*unread(params), *about.without_effect]))
    families, model = params["encoding"]["families"], params["model"]
    second = params["parts"]["second_stage"] and params["models"][model]["diffusion"]["module"]
    there = [metric for metric, of in evidence["metrics"].items() if of["absent"] is None]
    keys = metric_keys(evidence, there)
    sources = Path("artifacts/sessions/sources.json")
    pairs = tables.read("artifacts/regions/tests.csv") if wanted.analyses else []
    control = f"Control: {about.control}. " if about.control else ""
    return render(
        "page.html",
        title=f"{evidence['n_images']} images reconstructed from responses: {name}",
        lead=f"{facts.as_sentence(about.source)} {facts.as_sentence(about.visual)} {control}Every "
        f"image was reconstructed by models that had not seen it ({about.split}). Model {model}.",
        contents=[one for one in CONTENTS if wanted.analyses or one[1] not in OF_ANALYSES],
        analyses=wanted.analyses,
        parts=params["parts"],
        warning=simulated(params["datasets"]["simulated"]["profile"]) if params["dataset"] == "simulated" else "",
        found=verdict.found(evidence, about, wanted, rank_by=rank_by),
        not_shown=verdict.not_shown(evidence, about, wanted, families=families, model=model, rank_by=rank_by),
        compared=verdict.compared(evidence, wanted),
        n_ranked=len(ranked),
        rank_by=rank_by,
        gallery=sheet.gallery(groups, pictures) | {"scores": ranked},
        identified=identified(evidence, params["areas"]),
        scores=score_table(evidence, wanted, population_labels(params["areas"])),
        differences=difference_table(evidence),
        metrics=metric_table(evidence),
        sheet=every_image(every, shown, stacks, scores, wanted, rank_by),
        absences=absences(evidence, about, params["parts"]),
        checks=check_table(evidence),
        pairs=differing(pairs),
        n_areas=len({row["area"] for row in pairs} | {row["other"] for row in pairs}),
        mistakes=mistakes() if wanted.analyses else None,
        movies=movies() if wanted.analyses else None,
        figures={
            one: sheet.lossless(Path(f"plots/{one}.png").read_bytes())
            for one in FIGURES
            if wanted.analyses or one not in OF_ANALYSES
        },
        facts=about,
        evidence=evidence,
        there=there,
        metric_keys=keys,
        encoding=params["encoding"],
        decode=params["decode"],
        models=params["models"][model],
        regression=of_space(params["regress"], "vdvae"),
        learns_from_movies=params["movies"]["train"] and "movies" not in about.without_effect,
        seed=params["seed"],
        split_seed=params["split"]["seed"] if params["split"]["method"] in ("k_fold", "hold_out") else None,
        version=__version__,
        sources=read_json(str(sources)) if sources.is_file() else None,
        bibtex=bibtex([*(key for key in CITED if second == "versatile_diffusion" or key != SECOND_STAGE), *keys]),
        parameters=as_yaml(without(params, ignored)),
        not_read=ignored,
    )


def render(template: str, **values: Any) -> str:
    """A template of this folder with text that cannot become markup; the script's hash is the only one allowed."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    values |= {"script": Markup(script), "script_sha256": digest}  # it is a file of ours
    return environment.get_template(template).render(**values).lstrip() + "\n"


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[Cell | str]], strong: Sequence[str] = ()
) -> Table:
    """Cells as the template takes them; the first of a row is its heading."""
    cells = [[one if isinstance(one, dict) else {"text": one, "small": []} for one in row] for row in rows]
    return {"caption": caption, "columns": columns, "rows": cells, "strong": strong}


def cell(text: str, *small: str) -> Cell:
    """Text with lines of small print."""
    return {"text": text, "small": [line for line in small if line]}


def simulated(profile: str) -> str:
    """What must be said of simulated spikes: what units are tuned to, and whether a metric knows it."""
    return SIMULATED.format(tuning=TUNING[profile]) + OF_TUNING.get(profile, "")


def identified(evidence: dict[str, Any], areas: Mapping[str, facts.Areas]) -> Table:
    """How many unseen images encoding models identify, among which candidates."""
    rows: list[list[Cell | str]] = []
    for population, sets in evidence["identification"].items():
        row: list[Cell | str] = [cell(population, facts.short(areas[population]))]
        for name in SETS:
            if (one := sets.get(name)) is None:  # no image has another candidate
                row.append(cell("none"))
                continue
            low, high = one["top1_interval"]
            small = (f"{low:.3f} to {high:.3f}", f"chance {one['chance']:.2g}", _p(one["p_value"]))
            row.append(cell(f"{one['top1']:.3f}", *small))
        rows.append(row)
    return table("Share of unseen images identified", ["population", *SETS.values()], rows)


def score_table(evidence: dict[str, Any], wanted: Runs, units_of: Mapping[str, str]) -> Table:
    """Means with intervals, chance and p-values, run by run, and the ceilings."""
    there = _in_order(evidence)
    rows: list[list[Cell | str]] = []
    for run, of_run in evidence["runs"].items():
        row: list[Cell | str] = [cell(run, wanted.scored[run]["says"].format(**units_of))]
        rows.append(row + [worth(of_run[name]) if name in of_run else cell("", "not scored") for name in there])
    for ceiling, said in (
        (
            "noise",
            "of the regression. PixCorr: none of its reconstructions can be expected to score more, given this noise. "
            "Others: how well its reconstructions from halves of the presentations agree; from all they may score more",
        ),
        ("generator", "the decoder given true features"),
    ):
        values = [evidence["ceilings"][name].get(ceiling) for name in there]
        if any(value is not None for value in values):
            rows.append(
                [cell(f"{ceiling} ceiling", said), *(cell("", "none") if v is None else f"{v:.3f}" for v in values)]
            )
    return table("Mean scores, run by run", ["run", *_arrows(evidence, there)], rows, wanted.results)


def worth(one: dict[str, Any]) -> Cell:
    """A mean with its interval, chance and p-value."""
    small = [f"{one['low']:.3f} to {one['high']:.3f}"]
    if one["chance"] is not None:
        small.append(f"chance {one['chance']:.3f}")
    if one["p"] is not None:
        corrected = one.get("p_holm")
        small.append(_p(one["p"]) if corrected is None else f"{_p(corrected)} corrected")
    return cell(f"{one['mean']:.3f}", *small)


def difference_table(evidence: dict[str, Any]) -> Table:
    """What one run gains over another."""
    there = _in_order(evidence)
    rows = [
        [
            pair,
            *(
                cell(f"{of[n]['mean']:+.3f}", f"{of[n]['low']:+.3f} to {of[n]['high']:+.3f}") if n in of else cell("")
                for n in there
            ),
        ]
        for pair, of in evidence["differences"].items()
    ]
    caption = "What one run gains over another on the same images, with 95 % intervals"
    return table(caption, ["difference", *_arrows(evidence, there)], rows)


def metric_table(evidence: dict[str, Any]) -> Table:
    """How each metric that is there was made."""
    rows = [
        [
            name,
            str(m["network"] or "pixels"),
            str(m["resize"]),
            ", ".join(f"{a} {h[:12]}" for a, h in m["weights_sha256"].items()),
        ]
        for name, m in evidence["metrics"].items()
        if m["absent"] is None
    ]
    return table("Metrics", ["metric", "looks through", "resize", "weights (sha256)"], rows)


def decoded(run: str, ids: list[int]) -> np.ndarray:
    """What a run made of these images, uint8 (n_images, height, width, 3)."""
    return Reconstructions.load(f"artifacts/decoded/{run}").rows(np.array(ids))


def every_image(
    ids: list[int],
    shown: Stimuli,
    stacks: Mapping[str, np.ndarray],
    scores: Mapping[str, dict[str, dict[str, Any]]],
    wanted: Runs,
    rank_by: str,
) -> dict[str, Any]:
    """All images with their reconstructions and every score, in the order of ids and of the stacks of every run."""
    pictures = {"shown": images.rgb(shown.rows(np.array(ids)))}
    pictures |= {name: stacks[run] for run, name in wanted.sheet.items()}
    there = [name for name, metric in scores[wanted.lead].items() if metric["absent"] is None]
    there = [rank_by, *(name for name in there if name != rank_by)]
    columns = [(run, name) for run in wanted.sheet for name in there if scores[run][name]["absent"] is None]
    _, cards = sheet.cards(ids, pictures)
    return {
        "names": [name for name, _ in cards[0]],
        "order": f"the best {rank_by} of the {wanted.sheet[wanted.lead]} first",
        "columns": [
            {"name": f"{name}, {wanted.sheet[run]}", "larger_is_better": scores[run][name]["larger_is_better"]}
            for run, name in columns
        ],
        "cards": [
            {
                "id": i,
                "pictures": card,
                "scores": ",".join(f"{scores[run][name]['scores'][str(i)]:.4g}" for run, name in columns),
                "text": f"{rank_by} "
                + ", ".join(f"{scores[run][rank_by]['scores'][str(i)]:.2f}" for run in wanted.sheet),
            }
            for i, card in zip(ids, cards, strict=True)
        ],
    }


def absences(evidence: dict[str, Any], about: facts.Facts, parts: Mapping[str, bool]) -> Table:
    """What is not there and what was noted, each with its reason, in one place."""
    rows = [[name, "absent", metric["absent"]] for name, metric in evidence["metrics"].items() if metric["absent"]]
    rows += [
        [part.replace("_", " "), "left out", f"parts.{part} of params.yaml is false"]
        for part, is_wanted in parts.items()
        if not is_wanted
    ]
    ceiling = read_json("artifacts/noise_ceiling/vdvae.json")
    if ceiling["absent"]:
        rows.append(["noise ceiling", "absent", ceiling["absent"]])
    if about.averaged:
        reason = "only one response of each image is known, without presentations and their order"
        of_counts = "Fano factor, " if about.spikes else ""
        what = f"reliability, {of_counts}correlations of units, identity, course over the session"
        rows.append([what, "not known", reason])
    if not about.averaged and (why := order_unknown()):
        rows.append(["drift, course over the session, noise that neighbours share", "not known", why])
    if any(one["p"] is None for run in evidence["runs"].values() for one in run.values()):
        rows.append(["p-values and chance", "not known", "a fold that tests one image has no wrong pairing"])
    for run, findings in evidence["checks"].items():
        rows += [[f"{run}: {f['check']}", f["status"], f["says"]] for f in findings if f["status"] != "passed"]
    return table("What is absent, not known or noted", ["what", "state", "why"], rows)


def check_table(evidence: dict[str, Any]) -> Table:
    """What the checks looked for, and what they found."""
    rows = [[run, f["check"], f["status"], f["says"]] for run, findings in evidence["checks"].items() for f in findings]
    return table("Checks", ["run", "check", "status", "what it found"], rows)


def differing(pairs: Iterable[Mapping[str, str]]) -> Table:
    """Pairs of areas that differ after correction."""
    rows = [
        [row["area"], row["other"], f"{float(row['difference']):+.3f}", _p(float(row["p_holm"])).removeprefix("p ")]
        for row in pairs
        if float(row["p_holm"]) < 0.05
    ]
    columns = ["area", "compared with", "difference in two-way identification", "p (Holm)"]
    return table("Pairs of areas that differ", columns, rows)


def movies() -> Table:
    """What rows of movies add to the training images."""
    rows: list[list[Cell | str]] = [
        [
            cell(row["tested"], f"{row['n_tested']} of them"),
            row["learnt_from"],
            f"{float(row['correlation']):.3f}",
            f"{float(row['two_way']):.3f}",
            f"{float(row['encoder_r']):.3f}" if row["encoder_r"] else cell("", "not asked"),
        ]
        for row in tables.read("artifacts/movies/gain.csv")
    ]
    columns = [
        "tested",
        "learnt from",
        "correlation of pixels",
        "two-way identification",
        "encoding models: r of units",
    ]
    return table("What movies add to the training images", columns, rows)


def mistakes() -> Table:
    """What each known mistake does to the first stage."""
    numbers = ("pixcorr", "pixcorr_chance", "p", "two_way", "contrast")
    rows = [
        [
            cell(row["mistake"].replace("_", " "), row["what"]),
            # Where every fold tests one image there is neither chance nor a p-value.
            *(f"{float(row[name]):.3f}" if row[name] else cell("", "not known") for name in numbers),
        ]
        for row in tables.read("artifacts/known_mistakes.csv")
    ]
    columns = ["mistake", "PixCorr", "its chance", "p", "two-way identification", "contrast"]
    return table("Scores of the first stage with each mistake", columns, rows, strong=["none"])


def metric_keys(evidence: dict[str, Any], there: Sequence[str]) -> list[str]:
    """Keys of references.bib for the metrics of a run and their networks."""
    networks = " ".join(str(evidence["metrics"][name]["network"]) for name in there)
    found = [OF_METRIC[name] for name in there if name in OF_METRIC]
    return found + [key for network, key in OF_NETWORK.items() if network in networks]


def bibtex(keys: Iterable[str]) -> str:
    """Entries of references.bib, in the order of the keys.

    Raises
    ------
    KeyError
        There is no such entry.
    """
    entries = (TEMPLATES / "references.bib").read_text(encoding="utf-8").strip().split("\n\n")
    by_key = {entry.partition("{")[2].partition(",")[0]: entry for entry in entries}
    return "\n\n".join(by_key[key] for key in dict.fromkeys(keys))


def as_yaml(params: Mapping[str, Any]) -> str:
    """Parameters as they could stand in params.yaml: by value, however the file is laid out."""
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.dump(json.loads(json.dumps(params)), text)
    return text.getvalue()


def _p(value: float) -> str:
    """A p-value; one that four digits would show as 0 is below them."""
    return f"p {value:.4f}" if value >= 0.00005 else "p < 0.0001"


def _in_order(evidence: dict[str, Any]) -> list[str]:
    """The metrics that are there: pixels first, then networks."""
    about = evidence["metrics"]
    return sorted((n for n, m in about.items() if m["absent"] is None), key=lambda n: about[n]["network"] is not None)


def _arrows(evidence: dict[str, Any], there: Sequence[str]) -> list[str]:
    return [f"{name} {'↑' if evidence['metrics'][name]['larger_is_better'] else '↓'}" for name in there]
