"""Products of rows with a matrix, of which no row depends on how many rows there are.

Libraries of linear algebra choose a kernel by the shape, and the kernels of a few rows add up in another order than
those of many. The search for images that explain the responses takes long steps, which amplify such rounding to other
details of the picture. With blocks of one size the kernel is always the same.
"""

import torch
from torch import Tensor

# Rows: as fast as all at once; fewer read the matrix too often, more are wasted on a few images.
BLOCK = 8
# Columns at least, zeros if need be: the kernels of narrower products do not treat all rows of a block alike.
NARROW = 16


def product(rows: Tensor, matrix: Tensor) -> Tensor:
    """rows @ matrix, in blocks of 8 rows on a processor, at once on a GPU; differentiable.

    Parameters
    ----------
    rows : float32, (n, n_in)
    matrix : float32, (n_in, n_out)

    Returns
    -------
    float32, (n, n_out)
        With one thread of one processor, each row bit for bit as without the others, and so its gradient.
    """
    if rows.device.type != "cpu":
        return rows @ matrix
    n, (n_in, n_out) = len(rows), matrix.shape
    missing = max(0, NARROW - n_in), max(0, NARROW - n_out)
    if any(missing):
        matrix = torch.nn.functional.pad(matrix, (0, missing[1], 0, missing[0]))
    padded = torch.nn.functional.pad(rows, (0, missing[0], 0, -n % BLOCK))
    return torch.cat([block @ matrix for block in padded.split(BLOCK)])[:n, :n_out]
