"""Learn what each unit responds to: python -m stages.encode POPULATION"""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from rich.progress import track
from threadpoolctl import threadpool_limits

import stages
from loading import machine
from spikevaediff.encoding import encoder
from spikevaediff.files.atomic import replacing
from spikevaediff.recordings import preprocessing
from spikevaediff.records import ImageSplit, Responses, Stimuli, rows_of


def main(population: str) -> None:
    """Write artifacts/encoders/POPULATION: one encoding model per fold, and all_images.npz of all images."""
    params = stages.declared(f"encode@{population}")
    names = stages.section(params, "encoding", "families")
    responses = Responses.load(f"artifacts/responses/{population}.npz")
    split = ImageSplit.load("artifacts/split.npz")
    stimuli = Stimuli.load("artifacts/images.npz")
    maps = encoder.maps_of(stimuli.rows(split.image_id), names, stages.weights_path)
    x = preprocessing.response_matrix(responses, transform="none")
    of_column = preprocessing.units_of_columns(responses)

    def fitted(train_ids: np.ndarray) -> encoder.Encoder:
        rows = torch.from_numpy(rows_of(train_ids, split.image_id, "the split"))
        mean = preprocessing.mean_over_presentations(x, responses.image_id, train_ids)
        of_fold = [[layer[rows] for layer in of_family] for of_family in maps]
        return encoder.fit(of_fold, mean, families=names, image_id=train_ids, units=of_column)

    sets = {f"fold_{fold:02d}": split.ids(fold)[0] for fold in range(split.n_folds)} | {"all_images": split.image_id}
    # Small matrices: a fold on each core is faster than all cores on one.
    with (
        replacing(f"artifacts/encoders/{population}", folder=True) as temporary,
        threadpool_limits(1),
        ThreadPoolExecutor(machine.processors()) as pool,
    ):
        for name, model in track(zip(sets, pool.map(fitted, sets.values()), strict=True), "encoders", total=len(sets)):
            model.save(temporary / f"{name}.npz")
    chosen = ", ".join(f"{np.sum(model.family == i)} {name}" for i, name in enumerate(names))
    stages.done(
        f"{population}: encoding models of {len(model.r2)} columns ({chosen}, {np.sum(model.family < 0)} none), "
        f"left-out R2 {np.median(model.r2):.2f} at the median"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
