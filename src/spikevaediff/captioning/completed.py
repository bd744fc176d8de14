"""A caption for every image: those that a data set brings, and BLIP-2's for the others."""

from pathlib import Path
from typing import Any

import numpy as np

from spikevaediff.captioning import blip2
from spikevaediff.files import assets
from spikevaediff.records import Captions, Stimuli

# Options of blip2.describe that do not come from section captions of params.yaml.
GIVEN = ("folder", "unfinished", "batch_size", "device")


def completed(given: Captions, stimuli: Stimuli, *, model: str, **options: Any) -> tuple[Captions, str]:
    """Captions of all images.

    Parameters
    ----------
    given : Captions
        Of some of the images; of others that were not shown none is kept.
    stimuli : Stimuli
    model : str
        A folder of a network as transformers saves it, or the name of a folder of assets.
    **options
        Of blip2.describe.

    Returns
    -------
    Captions
        In the order of their ids.
    str
        What was done, for those who run it.

    Raises
    ------
    FileNotFoundError
        The network cannot be fetched; the message says how else to bring captions.
    KeyError, ValueError
        There is no such asset; or as blip2.describe.
    """
    lacking = np.setdiff1d(stimuli.image_id, given.image_id)
    own = Path(model).expanduser()
    try:
        folder = own if own.is_dir() else assets.fetch_folder(model)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{len(lacking)} images have no caption, and the network that describes images is not here: {error}. Or "
            f"bring captions of your own in the data set's folder below vendor/data: a column caption in images.csv of "
            f"the plain format, which may be empty, or else captions.csv (image_id,caption)"
        ) from error
    made = blip2.describe(
        Stimuli(stimuli.source, lacking, stimuli.rows(lacking)),
        folder=folder,
        unfinished=assets.cache_dir() / "captions",  # not here: a queued experiment's folder goes with it
        **options,
    )
    kept = given.of(np.intersect1d(stimuli.image_id, given.image_id))
    sentences = dict(zip(kept.image_id.tolist(), kept.sentences, strict=True))
    sentences |= {image_id: (caption,) * bool(caption) for image_id, caption in made.items()}
    says = f"{len(lacking)} images described by {folder.name}, {len(kept.image_id)} captions were given"
    return Captions(np.array(sorted(sentences)), tuple(sentences[i] for i in sorted(sentences))), says
