"""Parts of the training images that are left out of everything, encoding models included."""

import numpy as np

N_PARTS, FEWEST = 5, 100  # of training images; fifths are left out until so many images were


def parts(train: np.ndarray) -> list[np.ndarray]:
    """Training images that are left out together.

    Fifths, dealt at random: as many of them as hold a hundred images together, or all.

    Parameters
    ----------
    train : bool, (n_images,)

    Returns
    -------
    list of bool, (n_images,)
        Part of the training images each.
    """
    images = np.random.default_rng([0, N_PARTS]).permutation(np.flatnonzero(train))
    dealt = [images[first::N_PARTS] for first in range(N_PARTS)]
    enough = int(np.searchsorted(np.cumsum([len(one) for one in dealt]), FEWEST)) + 1
    return [np.isin(np.arange(len(train)), one) for one in dealt[:enough] if len(one)]
