"""A caption for every image, where the data set brings none by BLIP-2: python -m stages.captions"""

from pathlib import Path

import numpy as np

import stages
from spikevaediff.captioning.captions import Captions
from spikevaediff.records import Stimuli


def main() -> None:
    """Write artifacts/captions.csv: the captions that are given, and made ones for the other images."""
    params = stages.declared("captions")
    options = dict(stages.section(params, "captions"))
    stimuli = Stimuli.load("artifacts/images.npz")
    given = Captions.load("artifacts/captions_given.csv")
    lacking = np.setdiff1d(stimuli.image_id, given.image_id)
    if not len(lacking):
        given.of(np.sort(stimuli.image_id)).save("artifacts/captions.csv")
        stages.done(f"captions of all {len(stimuli.image_id)} images are given")
        return
    # Seconds of importing, which a data set with captions need not wait for.
    from spikevaediff.captioning import blip2
    from spikevaediff.files import assets

    passed = ("folder", "unfinished", "batch_size", "device")
    stages.check_options(blip2.describe, options, "captions", stage=["model"], passed=passed)
    model = options.pop("model")
    own = Path(model).expanduser()
    try:
        folder = own if own.is_dir() else assets.fetch_folder(model)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{len(lacking)} images have no caption, and the network that describes images is not here: {error}. Or "
            f"bring captions of your own: captions.csv (image_id,caption) in the data set's folder below vendor/data"
        ) from error
    made = blip2.describe(
        Stimuli(stimuli.source, lacking, stimuli.rows(lacking)),
        folder=folder,
        unfinished=assets.cache_dir() / "captions",  # not here: a queued experiment's folder goes with it
        **options,
        **stages.compute(),
    )
    kept = given.of(np.intersect1d(stimuli.image_id, given.image_id))
    sentences = dict(zip(kept.image_id.tolist(), kept.sentences, strict=True))
    sentences |= {image_id: (caption,) * bool(caption) for image_id, caption in made.items()}
    Captions(np.array(sorted(sentences)), tuple(sentences[i] for i in sorted(sentences))).save("artifacts/captions.csv")
    stages.done(f"{len(lacking)} images described by {folder.name}, {len(kept.image_id)} captions were given")


if __name__ == "__main__":
    main()
