"""Seeds of what is drawn for an image: from its id and never from its place, so that any subset or batch gives the same
image."""

import numpy as np


def image_seed(seed: int, image_id: int) -> int:
    """One number in 0..2**64 - 1 from (seed, image_id)."""
    return int(np.random.SeedSequence([seed, image_id]).generate_state(1, np.uint64)[0])


def sample_seed(seed: int, image_id: int, number: int) -> int:
    """One number in 0..2**64 - 1 from (seed, image_id, number of the sample)."""
    # Ids of rows without an image are negative, which no seed may be.
    return int(np.random.SeedSequence([seed, image_id % 2**32, number]).generate_state(1, np.uint64)[0])
