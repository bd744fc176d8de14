"""How much a generated image is like one that the networks were trained on."""

import numpy as np

from spikevaediff.evaluation.correlation import correlation


def nearest(pixels: np.ndarray, training: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The training image that is most like each generated one, by the correlation of pixels.

    Parameters
    ----------
    pixels : uint8, (n_images, height, width, 3)
    training : uint8, (n_training, height, width)
        Grey, of the same size; mirrored ones are tried too, since training mirrors.

    Returns
    -------
    int64, (n_images,)
        Its row.
    float64, (n_images,)
        Pearson correlation; 1 is a copy. What photographs that were not trained on reach is the value to compare with.
    """
    if pixels.shape[1:3] != training.shape[1:]:
        raise ValueError(f"images of {pixels.shape[1:3]} and training images of {training.shape[1:]}: resize one")
    made, known, mirrored = (
        images.reshape(len(images), -1).astype(np.float64)
        for images in (pixels.mean(3), training, training[:, :, ::-1])
    )
    r = np.maximum(correlation(made, known), correlation(made, mirrored))
    return r.argmax(1), r.max(1)
