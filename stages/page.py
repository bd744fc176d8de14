"""Everything about a run on one page: python -m stages.page, which writes plots/report.html.

The numbers and pictures are those that stand in metrics/ and plots/; nothing is computed here.
"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

import stages
from spikevaediff import images
from spikevaediff.files import tables
from spikevaediff.files.atomic import replacing
from spikevaediff.records import Reconstructions, Stimuli
from spikevaediff.report import page
from spikevaediff.report.unread import unread, without
from spikevaediff.runs import in_words, read_runs

LIMITS = (
    "Intervals say how little so many images tell: differences within them mean nothing.",
    "A generator with a prior draws plausible images from nothing. A reconstruction is evidence only as far as its "
    "score stands above the control, above chance and above the mean image.",
    "Scores of one protocol must not be compared with those of another: networks, sizes and definitions differ.",
)
MINI = "The mini models are small and were trained on a few hundred crops; their ceilings are rows of the table."
SIMULATED = (
    "The spikes of this data set are simulated: Gabor-like tuning with gain noise, shared fluctuations and drift, "
    "calibrated to published rates, reliabilities and decoding accuracy. No number here says anything about real mice."
)


def main() -> None:
    """Write the page."""
    params = stages.declared("page")
    model = stages.section(params, "model")
    shown = Stimuli.load("artifacts/images.npz")
    ((name, evidence),) = json.loads(Path("metrics/statistics.json").read_text(encoding="utf-8")).items()
    sections = [
        page.Section("What was run", what_was_run(params, evidence)),
        page.Section("Scores", score_table(evidence, in_words(params["areas"]))),
        page.Section("Best, middle and worst", picture("gallery", "shown and reconstructed images, by rank")),
        page.Section("Which image was shown", identified(evidence)),
        page.Section("What units respond to", units()),
        page.Section("Every image", every_image(shown)),
        page.Section("Checks", checks(evidence)),
        page.Section(
            "What is predicted from spikes",
            picture("latents", "prediction of each layer of latents")
            + picture("noise_ceiling", "noise ceiling of each layer")
            + picture("layers", "what layers carry"),
        ),
        page.Section(
            "The regression",
            picture("left_out", "left-out scores by group of features")
            + picture("search", "search for settings")
            + picture("bands", "weights of bands"),
        ),
        page.Section("Areas", areas()),
        page.Section("When, from how many units and presentations", picture("curves", "decoding curves")),
        page.Section("The recording", picture("quality", "quality of units and responses")),
        page.Section("Known mistakes, made on purpose", mistakes()),
        page.Section("Limits", page.bullets([*LIMITS, *[MINI] * (model == "mini")])),
    ]
    title = f"{evidence['n_images']} images reconstructed from spikes: {name}"
    lead = (
        f"{shown.source}. Model {model}. Every image was reconstructed by models that had not seen it "
        f"({evidence['n_folds']} folds by image)."
    )
    text = page.page(title, lead[0].upper() + lead[1:], sections)
    with replacing("plots/report.html") as temporary:
        temporary.write_text(text, encoding="utf-8")
    stages.done(f"plots/report.html: {len(text) / 1e6:.1f} MB")


def what_was_run(params: dict[str, Any], evidence: dict[str, Any]) -> str:
    """Data set, model, protocol, versions and parameters."""
    dataset, model = params["dataset"], params["model"]
    settings = evidence["settings"]
    versions = ", ".join(f"{name} {number}" for name, number in settings["versions"].items())
    text = page.bullets(
        [
            f"Data set: {dataset}. Model: {model}. Protocol of the scores: {evidence['protocol']}.",
            *(population(name, listed) for name, listed in params["areas"].items()),
            f"{settings['n_draws']} permutations and bootstrap samples. Versions: {versions}.",
        ]
    )
    warning = page.paragraphs(SIMULATED, warn=True) if dataset == "simulated" else ""
    ignored = unread(params)
    shown = page.verbatim(as_yaml(without(params, ignored)))
    not_read = page.paragraphs(f"Not read, given the others: {', '.join(ignored)}.") if ignored else ""
    return warning + text + page.folded("All parameters that were read", shown + not_read)


def population(name: str, listed: list[str] | str) -> str:
    """Which units a population of params.yaml is of."""
    if isinstance(listed, str):
        return (
            f"Population {name}: {listed}, the units of the others, each image's responses taken for those of another."
        )
    return f"Population {name}: units in {', '.join(listed)}."


def as_yaml(params: dict[str, Any]) -> str:
    """Parameters as they could stand in params.yaml: by value, however the file is laid out."""
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.dump(params, text)
    return text.getvalue()


def score_table(evidence: dict[str, Any], units_of: dict[str, str]) -> str:
    """Means with intervals, chance and p-values, run by run, and the ceilings."""
    about = evidence["metrics"]
    # Pixels first, then networks.
    there = sorted((n for n, m in about.items() if m["absent"] is None), key=lambda n: about[n]["network"] is not None)
    runs = evidence["runs"]
    columns = ["run", *(f"{name} {'↑' if about[name]['larger_is_better'] else '↓'}" for name in there)]
    rows = []
    described = {run: about["says"].format(**units_of) for run, about in read_runs().scored.items()}
    for run in runs:
        cells: list[str | tuple[str, str]] = [(run, described[run])]
        cells += [cell(runs[run][name]) if name in runs[run] else "" for name in there]
        rows.append(cells)
    for ceiling, said in (
        (
            "noise",
            "PixCorr: no reconstruction from these presentations can be expected above it. Others: how well those from "
            "halves of the presentations agree, which those from all of them may exceed",
        ),
        ("generator", "the decoder given true features"),
    ):
        values = [evidence["ceilings"][name].get(ceiling) for name in there]
        rows.append([(f"{ceiling} ceiling", said), *("" if v is None else f"{v:.3f}" for v in values)])
    note = page.paragraphs(
        "Arrows point to better. Small print: 95 % interval over images; chance, which is the mean for wrong images of "
        "the same fold; p of the pairing of images and reconstructions within folds, corrected for all tests of the "
        "run where it asks something of the responses (Holm)."
    )
    facts = [
        [name, str(m["network"] or "pixels"), str(m["resize"]), str(m["weights_sha256"] or "")[:80], m["absent"] or ""]
        for name, m in about.items()
    ]
    made = page.table(["metric", "looks through", "resize", "weights (sha256)", "absent because"], facts)
    gains = [
        [pair, *(difference(of_pair[name]) if name in of_pair else "" for name in there)]
        for pair, of_pair in evidence["differences"].items()
    ]
    said = "What one run gains over another on the same images. Small print: 95 % interval over images."
    return (
        note
        + page.table(columns, rows, strong=["posterior", "posterior_sample", "diffusion"])
        + page.table(["difference", *columns[1:]], gains, caption=said)
        + page.folded("How each metric was made, and which are absent", made)
    )


def cell(worth: dict[str, Any]) -> tuple[str, str]:
    """A mean with its small print."""
    below = f"{worth['low']:.3f} to {worth['high']:.3f}"
    if worth["chance"] is not None:
        below += f"\nchance {worth['chance']:.3f}"
    if worth["p"] is not None:
        corrected = worth.get("p_holm")
        below += f"\np {worth['p']:.4f}" if corrected is None else f"\np {corrected:.4f} corrected"
    return f"{worth['mean']:.3f}", below


def difference(gain: dict[str, float]) -> tuple[str, str]:
    """A mean difference with its small print."""
    return f"{gain['mean']:+.3f}", f"{gain['low']:+.3f} to {gain['high']:+.3f}"


def checks(evidence: dict[str, Any]) -> str:
    """What was looked for that would make the scores a lie."""
    rows = [
        [run, finding["check"], finding["status"], finding["says"]]
        for run, findings in evidence["checks"].items()
        for finding in findings
    ]
    note = page.paragraphs(
        "A check that fails stops the pipeline, so a page like this one is not written.",
        "What is noted may be an accident.",
    )
    return note + page.table(["run", "check", "status", "what it found"], rows)


def every_image(shown: Stimuli) -> str:
    """All images with their reconstructions, best posterior mean first."""
    wanted = read_runs()
    correlation = {
        run: json.loads(Path(f"artifacts/scores/{run}.json").read_text(encoding="utf-8"))["metrics"]["pixcorr"][
            "scores"
        ]
        for run in wanted.sheet
    }
    lead = correlation[wanted.lead]
    ids = sorted(map(int, lead), key=lambda image_id: -lead[str(image_id)])
    rows = np.array(ids)
    pictures = {"shown": images.rgb(shown.rows(rows))}
    pictures |= {
        name: Reconstructions.load(f"artifacts/decoded/{run}").rows(rows) for run, name in wanted.sheet.items()
    }
    texts = {i: "PixCorr " + ", ".join(f"{of_run[str(i)]:.2f}" for of_run in correlation.values()) for i in ids}
    note = page.paragraphs(
        f"Shown, {', '.join(wanted.sheet.values())}; below, the pixel correlation of each, best first."
    )
    return note + page.sheet(ids, pictures, texts)


def identified(evidence: dict[str, Any]) -> str:
    """How many unseen images encoding models identify, among which candidates."""
    rows: list[list[str | tuple[str, str]]] = []
    for population, sets in evidence["identification"].items():
        row: list[str | tuple[str, str]] = [f"areas.{population}"]
        for one in sets.values():
            low, high = one["top1_interval"]
            below = f"{low:.3f} to {high:.3f}\nchance {one['chance']:.4f}\np {one['p_value']:.4f}"
            row.append((f"{one['top1']:.3f}", below))
        rows.append(row)
    note = page.paragraphs(
        "An encoding model that has not seen the tested images predicts the response to every candidate. An image is "
        "identified if the response is likelier for it than for all others. No generator takes part."
    )
    columns = ["population", "among images of the fold", "among all images", "among the library's photographs"]
    return note + page.table(columns, rows) + picture("identification", "share of images identified")


def units() -> str:
    """What each unit responds to."""
    note = page.paragraphs(
        "Each unit has the family of features that predicts left-out training images best. The correlation is that of "
        "images which the model had not seen; its ceiling is what noise in the measured means leaves possible."
    )
    return note + picture("encoding", "prediction of units, receptive fields, families of features")


def areas() -> str:
    """The comparison of areas, and the pairs that differ."""
    rows = [row for row in tables.read("artifacts/regions/tests.csv") if float(row["p_holm"]) < 0.05]
    cells = [
        [row["area"], row["other"], f"{float(row['difference']):+.3f}", f"{float(row['p_holm']):.4f}"] for row in rows
    ]
    columns = ["area", "compared with", "difference in two-way identification", "p (Holm)"]
    table = page.table(columns, cells) if cells else page.paragraphs("No pair of areas differs.")
    return picture("regions", "areas at equal numbers of units") + page.folded("Pairs that differ", table)


def mistakes() -> str:
    """What each known mistake does to the first stage."""
    numbers = ("pixcorr", "pixcorr_chance", "p", "two_way", "contrast")
    rows: list[list[str | tuple[str, str]]] = [
        [
            (row["mistake"].replace("_", " "), row["what"]),
            # Where every fold tests one image there is neither chance nor a p-value.
            *(row[name] and f"{float(row[name]):.3f}" for name in numbers),
        ]
        for row in tables.read("artifacts/known_mistakes.csv")
    ]
    columns = ["mistake", "PixCorr", "its chance", "p", "two-way identification", "contrast"]
    note = page.paragraphs(
        "Each mistake is made alone, in the first stage of an otherwise honest run. Published code for this task makes "
        "them. Contrast is the standard deviation of reconstructed pixels over that of shown ones."
    )
    return note + page.table(columns, rows, strong=["none"])


def picture(name: str, alt: str) -> str:
    """A picture of plots/."""
    return page.figure(Path(f"plots/{name}.png").read_bytes(), alt)


if __name__ == "__main__":
    main()
