"""Processors and memory that this process may use, which on shared machines are fewer than there are.

Containers and batch systems limit by control groups (Linux, both versions), `taskset` and Slurm by the affinity mask,
`ulimit -v` by the address space. A plan made for the whole host ends there with the process killed, or with more
threads than processors, which wait for each other.
"""

import math
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil


def processors(root: Path = Path("/")) -> int:
    """Number of threads that run at the same time: affinity mask and control groups, at least 1.

    A quota of 2.5 processors counts as 2: a third thread would be stopped for half of every period, and the others
    wait for it at the end of every product of matrices.

    Parameters
    ----------
    root : Path
        Where proc/ and sys/ are.
    """
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    quotas = [allowed, *(quota for folder in _groups(root, "cpu") if (quota := _quota(folder)) is not None)]
    return max(1, math.floor(min(quotas)))


def total_memory(root: Path = Path("/")) -> int:
    """Bytes that this process may use at most: of the host, or the smallest limit that is set."""
    limits = [psutil.virtual_memory().total, *(limit for limit, _ in _memory_limits(root)), *_address_space()[:1]]
    return min(limits)


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that this process can still take before the host has no more, or a limit is reached; 0 or more.

    What the page cache holds of files that were read long ago counts as free, as it does for the kernel.

    Parameters
    ----------
    root : Path
        Where proc/ and sys/ are.
    """
    free = [psutil.virtual_memory().available, *(limit - used for limit, used in _memory_limits(root))]
    if space := _address_space():
        free.append(space[0] - space[1])
    return max(0, min(free))


def free_bytes(device: str) -> int:
    """Memory of a device that a new tensor could take.

    Parameters
    ----------
    device : str
        As torch names it; of a processor, `free_memory`.
    """
    import torch  # a second that those who ask for processors alone need not wait

    if torch.device(device).type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return free_memory()


def out_of_memory(error: BaseException) -> str | None:
    """What to say, in a line, of an error that means that memory ran out; None for other errors.

    NumPy and Python raise MemoryError, torch and JAX a RuntimeError of their own words. A MemoryError of this project
    says what would fit, and is said as it is.
    """
    said = " ".join(str(error).split())
    if type(error) is MemoryError and said:
        return said
    if not isinstance(error, MemoryError) and not (isinstance(error, RuntimeError) and _MEMORY.search(said)):
        return None
    # Of torch's sentences the one that says it; the others are about its allocator.
    sentences = re.split(r"(?<=[\w)])\. (?=[A-Z])", said)
    what = next(filter(_MEMORY.search, sentences), sentences[0])[:200].rstrip(".") or "there is no more memory"
    return (
        f"{what}. This process may use {total_memory() / 1e9:.1f} GB here: set compute.batch_size in params.yaml to a "
        "smaller number, end other programs, or give it more"
    )


_MEMORY = re.compile("out of memory|allocate memory|not enough memory|RESOURCE_EXHAUSTED", re.IGNORECASE)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the control groups that bound this process, its own first, then those that it lies in."""
    try:
        own = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        mounts = (root / "proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return  # not Linux
    # hierarchy:controllers:path; version 2 is hierarchy 0 and names no controllers.
    paths = {names: path for _, names, path in (line.split(":", 2) for line in own)}
    for line in mounts:
        before, _, after = line.partition(" - ")
        (mounted, point), (kind, _, options) = before.split()[3:5], after.split(maxsplit=2)
        if kind == "cgroup2":
            path = paths.get("")
        elif kind == "cgroup" and controller in options.split(","):
            path = next((path for names, path in paths.items() if controller in names.split(",")), None)
        else:
            continue
        if path is None:
            continue
        top = root / point.lstrip("/")
        # In a container the mount shows a part of the tree, and paths may be those of the host.
        inside = path.removeprefix(mounted.rstrip("/")).lstrip("/")
        folder = top / inside if (top / inside).is_dir() and ".." not in inside.split("/") else top
        while True:
            yield folder
            if folder == top:
                break
            folder = folder.parent


def _quota(folder: Path) -> float | None:
    """Processors that a control group may keep busy; None: as many as there are."""
    if words := _words(folder / "cpu.max"):  # version 2: "200000 100000" or "max 100000"
        return None if words[0] == "max" else int(words[0]) / int(words[1])
    quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
    return int(quota[0]) / int(period[0]) if quota and period and int(quota[0]) > 0 else None


def _memory_limits(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, used) in bytes of every control group that has a limit."""
    for folder in _groups(root, "memory"):
        names = ("memory.max", "memory.high", "memory.limit_in_bytes")
        set_here = [int(words[0]) for name in names if (words := _words(folder / name)) and words[0] != "max"]
        used = _words(folder / "memory.current") or _words(folder / "memory.usage_in_bytes")
        if not set_here or not used:
            continue
        words = _words(folder / "memory.stat")
        statistics = dict(zip(words[::2], words[1::2], strict=False))
        old_pages = statistics.get("total_inactive_file", statistics.get("inactive_file", "0"))
        yield min(set_here), int(used[0]) - int(old_pages)


def _address_space() -> tuple[int, int] | tuple[()]:
    """(limit, used) in bytes of `ulimit -v`; nothing where none is set."""
    try:
        import resource
    except ImportError:  # Windows
        return ()
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return () if limit == resource.RLIM_INFINITY else (limit, psutil.Process().memory_info().vms)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError:
        return []
