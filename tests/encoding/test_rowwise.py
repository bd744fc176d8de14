"""Products by rows: their values and gradients, and that a row does not depend on the others."""

import numpy as np
import pytest
import torch
from conftest import close

from spikevaediff.encoding.rowwise import BLOCK, product

SHAPES = [(3000, 70), (300, 333), (40, 3), (6, 6), (2, 500)]  # rows by columns of the matrix


def drawn(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(shape).standard_normal(shape).astype(np.float32))


def with_gradient(rows: torch.Tensor, matrix: torch.Tensor, toward: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    x = rows.clone().requires_grad_()
    found = product(x, matrix)
    (found * toward).sum().backward()
    assert x.grad is not None
    return found.detach().numpy(), x.grad.numpy()


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_product_and_has_its_gradient(shape: tuple[int, int]) -> None:
    rows, matrix, toward = drawn(2 * BLOCK + 3, shape[0]), drawn(*shape), drawn(2 * BLOCK + 3, shape[1])
    found, gradient = with_gradient(rows, matrix, toward)
    close(found, rows.double().numpy() @ matrix.double().numpy(), 1e-3)
    close(gradient, toward.double().numpy() @ matrix.T.double().numpy(), 1e-3)
    assert product(rows[:0], matrix).shape == (0, shape[1])


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_is_the_same_bit_for_bit_alone_and_among_others(shape: tuple[int, int], turned: bool) -> None:
    matrix = drawn(*shape) if not turned else drawn(*shape).T.contiguous().T
    rows, toward = drawn(2 * BLOCK + 3, shape[0]), drawn(2 * BLOCK + 3, shape[1])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = with_gradient(rows, matrix, toward)
        for chosen in ([0], [11, 4], list(range(5, 17))):
            for alone, among in zip(with_gradient(rows[chosen], matrix, toward[chosen]), whole, strict=True):
                np.testing.assert_array_equal(alone, among[chosen])
    finally:
        torch.set_num_threads(threads)
