"""What a process may use: control groups of both versions, the affinity mask, ulimit; known numbers in, known out."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from loading.machine import free_bytes, free_memory, out_of_memory, processors, total_memory

GB = 10**9


def linux(root: Path, cgroup: str, mountinfo: str, files: dict[str, str]) -> Path:
    """A machine whose kernel says this of its control groups, in files as Linux writes them."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    (root / "proc/self/mountinfo").write_text(mountinfo)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V2 = "22 20 0:20 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "30 25 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n"
    "35 31 0:32 {0} /sys/fs/cgroup/memory rw,relatime shared:15 - cgroup cgroup rw,memory\n"
    "36 31 0:33 {0} /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
)


def test_a_container_of_version_2_has_what_its_limit_leaves(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/memory.max": f"{GB}\n",
        "sys/fs/cgroup/memory.current": f"{GB // 2}\n",
        "sys/fs/cgroup/memory.stat": f"anon 1\nfile 2\ninactive_file {GB // 10}\nactive_file 7\n",
        "sys/fs/cgroup/cpu.max": "150000 100000\n",
    }
    root = linux(tmp_path, "0::/\n", V2, files)
    assert total_memory(root) == GB
    assert free_memory(root) == GB - GB // 2 + GB // 10
    assert processors(root) == 1


def test_the_smallest_limit_above_a_job_counts(tmp_path: Path) -> None:
    """A Slurm job on version 2: the step has no limit of its own, the job above it has."""
    job = "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7"
    files = {
        f"{job}/step_0/user/memory.max": "max\n",
        f"{job}/step_0/user/memory.current": "1000\n",
        f"{job}/step_0/user/cpu.max": "max 100000\n",
        f"{job}/memory.max": f"{2 * GB}\n",
        f"{job}/memory.high": "max\n",
        f"{job}/memory.current": f"{3 * GB}\n",
        f"{job}/cpu.max": "50000 100000\n",
    }
    root = linux(tmp_path, "0::/system.slice/slurmstepd.scope/job_7/step_0/user\n", V2, files)
    assert total_memory(root) == 2 * GB
    assert free_memory(root) == 0, "more than the limit is never less than nothing"
    assert processors(root) == 1, "half a processor is one thread"


@pytest.mark.parametrize("mounted", ["/", "/docker/f00d"])
def test_a_container_of_version_1_sees_its_own_part_of_the_tree(tmp_path: Path, mounted: str) -> None:
    top = "" if mounted == "/docker/f00d" else "/docker/f00d"
    memory, cpu = f"sys/fs/cgroup/memory{top}", f"sys/fs/cgroup/cpu,cpuacct{top}"
    files = {
        f"{memory}/memory.limit_in_bytes": f"{GB}\n",
        f"{memory}/memory.usage_in_bytes": f"{GB // 4}\n",
        f"{memory}/memory.stat": f"cache 5\ninactive_file 1\ntotal_inactive_file {GB // 8}\n",
        f"{cpu}/cpu.cfs_quota_us": "100000\n",
        f"{cpu}/cpu.cfs_period_us": "100000\n",
    }
    own = "9:name=systemd:/\n5:cpu,cpuacct:/docker/f00d\n4:memory:/docker/f00d\n0::/\n"
    root = linux(tmp_path, own, V1.format(mounted), files)
    assert total_memory(root) == GB
    assert free_memory(root) == GB - GB // 4 + GB // 8
    assert processors(root) == 1


def test_without_limits_the_host_counts(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{(1 << 63) - 4096}\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "4096\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    }
    root = linux(tmp_path / "host", "5:cpu,cpuacct:/\n4:memory:/\n", V1.format("/"), files)
    for machine in (root, tmp_path / "no Linux"):
        assert total_memory(machine) == psutil.virtual_memory().total
        assert 0 < free_memory(machine) <= psutil.virtual_memory().total
        assert processors(machine) == len(os.sched_getaffinity(0))


def test_no_memory_is_one_line_with_the_cure() -> None:
    cure = "GB here: set compute.batch_size in params.yaml to a smaller number, end other programs, or give it more"
    for ask, what in (
        (lambda: np.empty(1 << 60, np.uint8), "Unable to allocate 1.00 EiB for an array"),
        (lambda: torch.empty(1 << 50), "allocate memory: you tried to allocate 4503599627370496 bytes"),
        (lambda: bytearray(1 << 62), "there is no more memory. This process may use "),
    ):
        with pytest.raises((MemoryError, RuntimeError)) as caught:
            ask()
        said = out_of_memory(caught.value)
        assert said is not None
        assert what in said
        assert said.endswith(cure)
        assert "\n" not in said
    assert out_of_memory(MemoryError("1 x 512 px need 7 GB. What fits: bfloat16")).endswith("What fits: bfloat16")
    cuda = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB. See PYTORCH_ALLOC_CONF"
    assert out_of_memory(torch.OutOfMemoryError(cuda)).startswith("CUDA out of memory. This process may use ")
    for other in (RuntimeError("shapes do not agree"), ValueError("out of memory"), KeyboardInterrupt()):
        assert out_of_memory(other) is None


def test_a_stage_that_runs_out_of_memory_says_so_in_a_line() -> None:
    root = Path(__file__).resolve().parents[2]
    code = "import stages\nimport numpy as np\nnp.empty(1 << 60, np.uint8)"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("MemoryError: Unable to allocate 1.00 EiB")


def python(code: str) -> str:
    """What a fresh process prints."""
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_process_that_is_bound_to_one_processor_uses_one() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    assert python(code + "from loading.machine import processors; print(processors())") == "1"


def test_ulimit_bounds_the_plan() -> None:
    code = (
        "import psutil, resource\nfrom loading.machine import free_memory, total_memory\n"
        "limit = psutil.Process().memory_info().vms + 10**8\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\nprint(total_memory() == limit, free_memory())"
    )
    same, free = python(code).split()
    assert same == "True"
    assert 9e7 < int(free) <= 1e8


def test_the_networks_plan_with_it() -> None:
    assert 0 < free_bytes("cpu") <= total_memory()
