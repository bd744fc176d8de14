"""What real spikes give, by the number of training images: python benchmarks/bench_v4.py [--folder FOLDER]

Session 201025 of macaque V4: 240 photographs are tested, models and regressions learn from the first 106, 300 or 960
of the others. Which photographs these are was drawn before anything was run (seed 0), and everything else is as
params.yaml has it; nothing is chosen on the tested ones. The library is views of the embedded training crops,
and training images that neither model nor regression have learnt from choose its weight.
EfficientNet's features are its pooled last grid, less their mean over training images and in units of their deviation.
Two-way identification is that of the metrics, in which shown images compete for a reconstruction; of AlexNet's features
the other direction stands beside it, in which reconstructions compete for a shown image.

Recordings are fetched as by `dataset: cowley_v4`, or read from a folder with session_201025.npz (mean_counts) and
session_201025_images.zip. Writes benchmarks/v4.csv and the table of docs/cowley-v4.md; sizes that were not run stay.
The posterior takes most of the time; a bare --reconstruct leaves it out.

--luminance WEIGHTS and --in-mean SHARES print how two numbers of the posterior were chosen instead, and write nothing:
scores of samples and of their mean at each weight of expected luminance, and of the mean at each share of regression
in it, on photographs that neither this benchmark nor `make repro DATASET=cowley_v4` tests.
"""

import argparse
import csv
import io
import os
import sys
import time
import zipfile
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "vendor")]

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from spikevaediff.datasets import cowley_v4
from spikevaediff.decoders import vdvae as decoder
from spikevaediff.encoding import encoder, fit_folds, identification, luminance, of_folds, posterior, posterior_folds
from spikevaediff.encoding import library as libraries
from spikevaediff.encoding.with_regression import combined
from spikevaediff.evaluation import scores
from spikevaediff.evaluation.correlation import correlation
from spikevaediff.evaluation.metrics import two_way
from spikevaediff.features import vdvae as latents
from spikevaediff.files import assets
from spikevaediff.files.atomic import replacing
from spikevaediff.images import resize, rgb
from spikevaediff.networks import small
from spikevaediff.records import Features, ImageSplit, Reconstructions, Responses, Stimuli
from spikevaediff.regression import cross_validation
from spikevaediff.regression.methods import ridge
from spikevaediff.regression.parts import parts as parts_of
from spikevaediff.report import score_tables
from vdvae import weights as checkpoints
from vdvae.config import CONFIGS

SESSION, N_TESTED, N_CANDIDATES, N_DRAWS = 201025, 240, 118, 20
SIZES = (106, 300, 960)
N_RUN, N_DEVELOPED, N_LEARNT = 118, 160, 300  # photographs of the run; on which weights are chosen, and learnt from
OFFERED = (0.0, 0.03, 0.1, 0.3, 1.0)  # weights of the library, as `make repro DATASET=cowley_v4` has them
# Of the posterior, as `make repro DATASET=cowley_v4` has them, and photographs as the prior.
AROUND_PHOTOGRAPHS = {"prior_weight": 0.03, "steps": 12, "luminance_weight": 0.1}
IN_MEAN = 0.5  # regression_share there
SIZE_PX = 16  # at which pixels are predicted and compared
METRICS = ("pixcorr", "alexnet2", "alexnet5")
TURNED = {"alexnet2 turned": 1, "alexnet5 turned": 4}  # the other direction, and the convolution that it looks at
# Row of the table -> what it is, and what was hoped for before it was run.
ROWS = {
    "encoder r": ("correlation of predicted and measured response, median unit", ""),
    "identification": (
        f"unseen image identified among {N_CANDIDATES} (chance {1 / N_CANDIDATES:.4f})",
        ".50 / .72 / .92",
    ),
    "identification wider": ("the same, with EfficientNet's features offered to encoding models as well", ""),
    "pixels ridge": ("16 px PixCorr, ridge", ""),
    "pixels library": ("16 px PixCorr, ridge with the library", "above ridge"),
    "efficientnet ridge": ("EfficientNet two-way, ridge", ""),
    "efficientnet library": ("EfficientNet two-way, ridge with the library", "above ridge"),
    **{
        f"{run} {metric}": (f"{words}, {name}", goal.get(metric, ""))
        for run, words, goal in (
            ("ridge", "ridge to latents", {}),
            ("library", "ridge to latents with the library", {}),
            ("sample", "posterior sample", {"alexnet2": ".75 with 300", "alexnet5": ".69 with 300"}),
            ("mean", "posterior mean", {"pixcorr": "ridge to latents"}),
            ("alone", "the same without `regression_share`", {}),
        )
        for metric, name in zip(
            (*METRICS, *TURNED),
            ("16 px PixCorr", "AlexNet-2", "AlexNet-5", "AlexNet-2 turned", "AlexNet-5 turned"),
            strict=True,
        )
    },
}
Found = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--reconstruct", type=int, nargs="*", default=[300], help="with these sizes")
    parser.add_argument("--images", type=int, default=N_TESTED, help="that are reconstructed, the first tested ones")
    parser.add_argument("--luminance", type=float, nargs="+", help="compare these weights on other photographs")
    parser.add_argument("--in-mean", type=float, nargs="+", help="compare these shares there")
    given = parser.parse_args()
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    pixels, x = _published(params) if given.folder is None else _of_folder(given.folder)
    order = np.random.default_rng(0).permutation(len(x))
    if given.luminance or given.in_mean:
        of_run = np.random.default_rng([0]).permutation(len(x))[:N_RUN]  # as cowley_v4.acquire draws them
        free = order[N_TESTED + max(SIZES) - 200 :]
        developed = free[~np.isin(free, of_run)][: min(N_DEVELOPED, given.images)]
        bench = Bench(pixels, x, params, developed, order[N_TESTED : N_TESTED + N_LEARNT])
        bench.developed(given.luminance or [], given.in_mean or [])
        return
    bench = Bench(pixels, x, params, order[:N_TESTED], order[N_TESTED : N_TESTED + max(given.sizes)])
    for n_train in given.sizes:
        started = time.process_time()
        found = bench.run(n_train, given.images if n_train in given.reconstruct else 0)
        print(f"{n_train} training images, {time.process_time() - started:.0f} s of processor time", flush=True)
        table = _table(_kept(n_train, found))
        score_tables.put(ROOT / "docs/cowley-v4.md", "v4", table)
        print(table, flush=True)


class Bench:
    """One session and one library, of which each size takes the first training images.

    pixels : uint8, (n_images, height, width); x : float64, (n_images, n_units), mean counts. tested, pool : int64, rows
    of both that are tested and that models learn from; others are not looked at.
    """

    def __init__(
        self, pixels: np.ndarray, x: np.ndarray, params: dict[str, Any], tested: np.ndarray, pool: np.ndarray
    ) -> None:
        used = np.sort(np.concatenate([tested, pool]))
        self.pixels, self.x, self.params, self.number = pixels[used], x[used], params, used
        self.tested, self.pool = np.flatnonzero(np.isin(used, tested)), np.searchsorted(used, pool)
        shown = Stimuli(cowley_v4.SOURCE, np.arange(len(used)), self.pixels)
        made = params["library"]
        self.library = libraries.make(ROOT / made["folder"], shown, n_images=made["n_images"], seed=made["seed"])
        # Real images in their order, then those of the library, as regressions take them.
        every = [self.pixels, self.library.pixels]
        self.of_pixels = np.concatenate([resize(p, SIZE_PX).reshape(len(p), -1) for p in every]).astype(np.float32)
        self.of_efficientnet = np.concatenate(
            [encoder.maps_of(p, ["efficientnet"], assets.fetch)[0][0].mean((2, 3)).numpy() for p in every]
        )
        self.vdvae = params["models"]["mini"]["vdvae"] | {"batch_size": "auto", "device": "cpu"}
        self.vdvae["weights"] = ROOT / self.vdvae["weights"]
        self.shown = shown

    @cached_property
    def of_latents(self) -> list[Features]:
        """Of all images, and of the library."""
        return [latents.extract(images, **self.vdvae) for images in (self.shown, self.library)]

    def run(self, n_train: int, n_decoded: int) -> Found:
        """All numbers with so many training images."""
        trained = np.sort(self.pool[:n_train])
        ids = np.sort(np.concatenate([trained, self.tested]))
        split = ImageSplit(ids, np.where(np.isin(ids, self.tested), 0, -1))
        model, without = self._learnt(trained)
        print(fit_folds.report_line(model), flush=True)
        predicted = encoder.predict(model, self.pixels[self.tested], assets.fetch)
        r = np.diag(correlation(predicted.T, self.x[self.tested].T))
        found = {"encoder r": float(np.nanmedian(r)), "identification": self._identified(model, predicted)}
        widest, _ = self._learnt(trained, "efficientnet", parts=False)
        found["identification wider"] = self._identified(
            widest, encoder.predict(widest, self.pixels[self.tested], assets.fetch)
        )
        answers = self._answers(model, without)
        for way, responses in (("ridge", None), ("library", np.stack([answers, answers]))):
            pixels = self._regressed(self.of_pixels, split, responses)
            own = correlation(self.of_pixels[self.tested], pixels)
            found[f"pixels {way}"] = float(np.diag(own).mean())
            features = self.of_efficientnet - self.of_efficientnet[trained].mean(0)
            features /= features[trained].std(0)
            alike = correlation(features[self.tested], self._regressed(features, split, responses))
            found[f"efficientnet {way}"] = float(np.diag(two_way.shares(alike)).mean())
            if n_decoded:
                decoded = self._decoded(split, responses, n_decoded)
                found |= self._scored(way, decoded)
        if n_decoded:
            images = self._samples(model, answers, n_decoded)
            alone = images.mean(1)
            mean = combined(alone, decoded, share=IN_MEAN)
            found |= self._scored("sample", images[:, 0]) | self._scored("mean", mean) | self._scored("alone", alone)
        return {name: found[name] for name in ROWS if name in found}

    @property
    def units(self) -> dict[str, np.ndarray]:
        n = self.x.shape[1]
        return {"unit_id": np.arange(n), "session_id": np.full(n, SESSION), "area": np.full(n, "V4")}

    def _learnt(
        self, trained: np.ndarray, *also: str, parts: bool = True
    ) -> tuple[encoder.Encoder, list[encoder.Encoder]]:
        """An encoding model of these images, and those that lack a part of them each."""
        names = [*self.params["encoding"]["families"], *also]
        maps = encoder.maps_of(self.pixels[trained], names, assets.fetch)

        def of_rows(rows: np.ndarray) -> encoder.Encoder:
            some = [[layer[rows] for layer in of_family] for of_family in maps]
            image_id, x = self.number[trained][rows], self.x[trained][rows]
            return encoder.fit(some, x, families=names, image_id=image_id, units=self.units)

        every = np.ones(len(trained), bool)
        left_out = parts_of(every) if parts else []
        return of_rows(np.flatnonzero(every)), [of_rows(np.flatnonzero(~part)) for part in left_out]

    def _answers(self, model: encoder.Encoder, without: list[encoder.Encoder]) -> np.ndarray:
        """Of a model to the library; those of models that lack a part of the training images choose its weight."""
        models, seed = [model, *without], self.params["library"]["seed"]
        predicted = of_folds.predict(models, self.library.pixels, assets.fetch)
        answers, *of_parts = (
            answer + of_folds.noise(one, self.library.image_id, seed=seed, number=0)
            for one, answer in zip(models, predicted, strict=True)
        )
        # Of the one fold, and of all images, which no prediction here is of.
        if of_parts:
            self.weights = cross_validation.Weights(OFFERED, [np.stack(of_parts)] * 2)
        return answers

    def developed(self, weights: list[float], shares: list[float]) -> None:
        """Print scores of one sample, averaged over all of them, and of their mean, a row per weight of luminance; and
        scores of the mean, with its PixCorr above wrong pairings, a row per share of regression in it."""
        metrics = [*METRICS, "efficientnet_lite0"]
        ids, trained = np.arange(len(self.x)), np.sort(self.pool)
        model, without = self._learnt(trained, parts=bool(shares))
        answers = self._answers(model, without)
        n = len(self.tested)

        def means(images: np.ndarray) -> dict[str, float]:
            coloured = images if images.ndim == 4 else rgb(np.round(images * 255).astype(np.uint8))
            results = self._results(coloured, metrics)
            above = results["pixcorr"]["mean"] - results["pixcorr"]["chance"]
            return {metric: results[metric]["mean"] for metric in metrics} | {"pixcorr above wrong": above}

        def row(*cells: Any) -> None:
            print(f"| {' | '.join(cell if isinstance(cell, str) else f'{cell:.3f}' for cell in cells)} |", flush=True)

        if weights:
            row("weight", *(f"{of}: {metric}" for of in ("sample", "mean") for metric in metrics))
            row(*["---"] * (1 + 2 * len(metrics)))
        for weight in weights:
            images = self._samples(model, answers, n, luminance_weight=weight)
            *single, mean = (means(one) for one in [*np.moveaxis(images, 1, 0), images.mean(1)])
            row(f"{weight:g}", *(np.mean([one[m] for one in single]) for m in metrics), *(mean[m] for m in metrics))
        if shares:
            split = ImageSplit(ids, np.where(np.isin(ids, self.tested), 0, -1))
            regressed = [self._decoded(split, library, n) for library in (None, np.stack([answers, answers]))]
            samples = self._samples(model, answers, n).mean(1)
            row("share", *metrics, "pixcorr above wrong")
            row(*["---"] * (2 + len(metrics)))
            for share in shares:
                row(f"{share:g}", *means(combined(samples, regressed[1], share=share)).values())
            for name, decoded in zip(("ridge", "ridge with the library"), regressed, strict=True):
                row(name, *means(decoded).values())

    def _identified(self, model: encoder.Encoder, predicted: np.ndarray) -> float:
        likelihood = identification.log_likelihood(self.x[self.tested], predicted, model.covariance)
        found = []
        for draw in range(N_DRAWS):
            some = np.random.default_rng(draw).choice(N_TESTED, N_CANDIDATES, replace=False)
            ranks = identification.rank(likelihood[np.ix_(some, some)], np.arange(N_CANDIDATES))
            found.append(np.mean(ranks == 0))
        return float(np.mean(found))

    def _regressed(self, y: np.ndarray, split: ImageSplit, library: np.ndarray | None, **changes: Any) -> np.ndarray:
        """Targets of the tested images; rows of y are all images, then the library."""
        common = self.params["regress"]["common"]
        options = {name: common[name] for name in ("alphas", "alpha_scope", "folds", "seed")}
        options |= {"group_size": np.array([y.shape[1]])} | changes
        renormalise = options.pop("renormalise", "none")
        rows = y[split.image_id] if library is None else np.concatenate([y[split.image_id], y[len(self.x) :]])
        x = self.x[split.image_id]
        given: dict[str, Any] = {} if library is None else {"library": library, "weights": self.weights}
        found = cross_validation.predict(x, rows, split, ridge, options, renormalise=renormalise, **given)
        if library is not None:
            print(f"weight of the library: {found.choices[0]['library_weight']}", flush=True)
        return found.renormalised[0]

    def _decoded(self, split: ImageSplit, library: np.ndarray | None, n_decoded: int) -> np.ndarray:
        """Images of predicted latents, uint8 (n_decoded, row, column, 3)."""
        real, others = self.of_latents
        values = self._regressed(
            np.concatenate([real.values, others.values]),
            split,
            library,
            group_size=real.group_size,
            alpha_scope=self.params["regress"]["vdvae"]["alpha_scope"],
            renormalise=self.params["regress"]["common"]["renormalise"],
        )
        some = split.test_ids[:n_decoded], values[:n_decoded]
        predicted = Features(real.space, *some, real.group_name, real.group_size)
        options = self.params["decode"]["vdvae"] | {"seed": self.params["seed"]}
        del options["module"]  # decoder
        return decoder.decode(predicted, **self.vdvae, **options).pixels

    def _samples(self, model: encoder.Encoder, answers: np.ndarray, n_decoded: int, **changes: float) -> np.ndarray:
        """Samples of the posterior, float32 (n_decoded, n_samples, row, column), of the first tested images."""
        network = checkpoints.load(self.vdvae["weights"], CONFIGS[self.vdvae["config"]])
        n_layers = self.vdvae["n_layers"]
        shown, others = self.of_latents
        whitened = posterior_folds.whitened_latents(network, others, n_layers)
        known = replace(shown, image_id=self.number)
        around = posterior_folds.priors(
            [model], (self.library, known), whitened, others.image_id, network, n_layers, assets.fetch
        )
        options = self.params["decode"]["posterior"] | AROUND_PHOTOGRAPHS | changes
        del options["prior"]  # photographs
        trained, response = np.searchsorted(self.number, model.image_id), self.x[self.tested[:n_decoded]]
        return posterior.samples(
            response,
            self.number[self.tested[:n_decoded]],  # decides the draws
            encoder=model,
            gain=posterior.gain(whitened, answers, model.covariance),
            model=network,
            n_layers=n_layers,
            weights_of=assets.fetch,
            photographs=around(0),
            luminance=luminance.expected(self.x[trained], self.pixels[trained], response),
            seed=self.params["seed"],
            batch_size="auto",
            device="cpu",
            **options,
        )

    def _results(self, coloured: np.ndarray, metrics: list[str]) -> dict[str, Any]:
        """Means and intervals of images of the first tested ones, uint8 (image, row, column, 3)."""
        ids = self.tested[: len(coloured)]
        return scores.score_run(
            Stimuli(cowley_v4.SOURCE, ids, self.pixels[ids]),
            Reconstructions(ids, coloured),
            ImageSplit(np.append(ids, ids[-1] + 1), np.append(np.zeros(len(ids), int), -1)),
            protocol="strict",
            size_px=SIZE_PX,
            metrics=metrics,
            n_draws=1000,
            seed=0,
        )["metrics"]

    def _scored(self, run: str, images: np.ndarray) -> Found:
        """Scores of images of the first tested ones, grey in [0, 1] or uint8 with colours."""
        ids = self.tested[: len(images)]
        coloured = images if images.ndim == 4 else rgb(np.round(images * 255).astype(np.uint8))
        results = self._results(coloured, list(METRICS))
        for metric in METRICS:
            print(f"{run}: {metric} {results[metric]['mean']:.3f}, interval {results[metric]['interval']}", flush=True)
        found = {f"{run} {metric}": results[metric]["mean"] for metric in METRICS}
        shown, made = (_convolutions(p) for p in (rgb(self.pixels[ids]), coloured))
        for name, layer in TURNED.items():
            similarity = correlation(made[layer], shown[layer])  # rows compete
            found[f"{run} {name}"] = float(two_way.identification(similarity).mean())
        return found


def _convolutions(pixels: np.ndarray) -> list[np.ndarray]:
    """AlexNet's, of uint8 (n, row, column, 3), each flat."""
    network = small.alexnet(assets.fetch("alexnet_convolutions"))

    def prepare(batch: np.ndarray) -> Any:
        return small.scaled(resize(batch, small.INPUT_PX), small.IMAGENET_MEAN, small.IMAGENET_STD)

    return [layer.reshape(len(pixels), -1) for layer in small.run(network, prepare, pixels, 8)]


def _published(params: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Photographs and mean counts as the data set gives them: all of the session."""
    options = params["datasets"]["cowley_v4"] | {"sessions": [SESSION], "n_images": 0, "captions": "none"}
    with TemporaryDirectory() as folder:
        cowley_v4.acquire(ROOT / "vendor/data/cowley_v4", Path(folder), **options)
        responses = Responses.load(Path(folder) / f"sessions/{SESSION}.npz")
        pixels = Stimuli.load(Path(folder) / "images.npz").rows(responses.image_id)
    return pixels, responses.counts[:, :, 0].astype(np.float64)


def _of_folder(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The same from two files."""
    with zipfile.ZipFile(folder / f"session_{SESSION}_images.zip") as archive:
        files = [archive.read(name) for name in sorted(archive.namelist())]
    with np.load(folder / f"session_{SESSION}.npz") as session:
        x = session["mean_counts"].astype(np.float64)
    return np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("L")) for file in files]), x


def _kept(n_train: int, found: Found) -> dict[int, Found]:
    """These numbers and those that stand in the CSV file already, by size; all are written there."""
    path = ROOT / "benchmarks/v4.csv"
    kept: dict[int, Found] = {}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            for row in (row for row in csv.DictReader(file) if row["what"] in ROWS):
                kept.setdefault(int(row["n_train"]), {})[row["what"]] = float(row["value"])
    # Rounded as the file has them: a table that is written again with another size has the same digits.
    kept[n_train] = kept.get(n_train, {}) | {what: round(value, 4) for what, value in found.items()}
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["n_train", "what", "value"])
        writer.writerows([n, what, value] for n, of in sorted(kept.items()) for what, value in of.items())
    return kept


def _table(found: dict[int, Found]) -> str:
    sizes = sorted(found)
    lines = [f"| training images | {' | '.join(map(str, sizes))} | goal |", "|" + "---|" * (len(sizes) + 2)]
    for name, (words, goal) in ROWS.items():
        cells = [f"{found[n][name]:.3f}" if name in found[n] else "" for n in sizes]
        if any(cells):
            lines.append(f"| {words} | {' | '.join(cells)} | {goal} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
