"""What `compute` of params.yaml means on this machine."""


def device(wanted: str) -> str:
    """A device as torch names it; "auto" is the GPU where there is one."""
    if wanted != "auto":
        return wanted
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
