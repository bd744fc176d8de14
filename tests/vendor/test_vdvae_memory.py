"""How many images' latents are searched at once: as many as there is memory for."""

import pytest
import torch
from tiny_vdvae import config

from benchmarks.live_memory import Live
from vdvae import memory
from vdvae.config import CONFIGS
from vdvae.model import VDVAE

N_LAYERS, N_IMAGES = 3, 4


def test_a_descent_takes_no_more_than_planned_nor_much_less() -> None:
    torch.manual_seed(0)
    model = VDVAE(config(3)).requires_grad_(False)
    whitened = torch.zeros(N_IMAGES, model.n_numbers(N_LAYERS), requires_grad=True)
    with Live() as live:
        model.pixels_of_whitened(whitened, N_LAYERS).sum().backward()
    planned = N_IMAGES * memory.bytes_of_descent(config(3), N_LAYERS)
    assert 0.5 * planned < live.peak < planned


def test_what_fits_is_searched_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    published = CONFIGS["imagenet64"]
    each = memory.bytes_of_descent(published, 31)
    assert 0.7e9 < each < 1.5e9
    for free, n in ((0, 1), (20 * each, 10), (200 * each, 48)):
        monkeypatch.setattr(memory, "free_bytes", lambda _, free=free: free)
        assert memory.images_to_descend("auto", published, 31, "cpu", most=48) == n
    assert memory.images_to_descend(3, published, 31, "cpu", most=48) == 3
    with pytest.raises(ValueError, match=r"batch_size is 0, expected auto or a number of images"):
        memory.images_to_descend(0, published, 31, "cpu", most=48)
