"""The images of the posterior: the mean of the samples, where wanted combined with a regression, and one sample.

The mean and the picture by regression to latents estimate the same image, and they err in different places. Encoding
models of higher areas say much about features and little about coarse luminance. The regression has learnt some of that
luminance, but its fine detail is blurred. So the mean can take a share of its coarse part: spikevaediff.coarse.
"""

import numpy as np

from spikevaediff.coarse import exchanged
from spikevaediff.images import resize, rgb
from spikevaediff.records import Reconstructions, Samples


def pictures(
    samples: Samples, regressed: Reconstructions | None, *, regression_share: float
) -> tuple[Reconstructions, Reconstructions]:
    """The mean of the samples of every image, and the first of them.

    Parameters
    ----------
    samples : Samples
    regressed : Reconstructions, optional
        By regression, of these images among others; needed for a share above 0.
    regression_share : float
        0 (the mean as it is) to 1, as in `combined`.

    Raises
    ------
    KeyError, ValueError
        Pictures by regression are missing; as `combined`.
    """
    mean = samples.pixels.mean(1, dtype=np.float32) / 255
    if regression_share:
        if regressed is None:
            raise ValueError(f"regression_share is {regression_share!r}, which needs pictures by regression")
        mean = combined(mean, regressed.rows(samples.image_id), share=regression_share)
    whole = np.round(255 * mean).astype(np.uint8)
    return Reconstructions(samples.image_id, rgb(whole)), Reconstructions(samples.image_id, rgb(samples.pixels[:, 0]))


def combined(mean: np.ndarray, regressed: np.ndarray, *, share: float) -> np.ndarray:
    """Means of samples with a share of the regression in what is coarse.

    Parameters
    ----------
    mean : float32, (n_images, row, column), grey in [0, 1]
    regressed : uint8, (n_images, row, column, 3)
        By regression, of the same images in the same order; resized where it has another size.
    share : float
        0 (the means as they are) to 1.

    Returns
    -------
    float32, (n_images, row, column), grey in [0, 1]

    Raises
    ------
    ValueError
        A share out of range, or another number of images.
    """
    if not 0 <= share <= 1:
        raise ValueError(
            f"params.yaml: decode.posterior_images.regression_share is {share!r}, expected a number from 0 to 1"
        )
    if len(regressed) != len(mean):
        raise ValueError(f"{len(regressed)} pictures by regression for {len(mean)} means of samples")
    other = resize(regressed, mean.shape[1]).mean(3) / 255
    return np.clip(exchanged(mean, other, share=share), 0, 1).astype(np.float32)
