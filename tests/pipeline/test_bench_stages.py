"""The benchmark of the stages: which commands it runs, in which order, and what it counts."""

import subprocess

import pytest
from conftest import ROOT
from small_profile import STAGES

from benchmarks import bench_stages


@pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # of pygtrie, in DVC
def test_every_stage_is_run_once_after_those_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    commands = bench_stages.commands_of([])
    names = [name for name, _ in commands]
    assert sorted(names) == sorted(STAGES)
    assert (names[0], names[-1]) == ("start", "report")
    assert names.index("split") < names.index("encode@visual") < names.index("decode_posterior@posterior")
    assert dict(commands)["report"] == ["python -m stages.report", "python -m stages.page"]
    modules = {bench_stages.module_of(name.partition("@")[0]) for name in names}
    assert all((ROOT / f"stages/{module}.py").is_file() for module in modules)


def test_processor_seconds_are_those_of_the_command_and_its_children() -> None:
    busy = "python -c 'import time; all(iter(lambda: time.process_time() < 0.5, False))'"
    assert 0.5 <= bench_stages.processor_seconds(f'sh -c "{busy}"', "split") < 5
    assert bench_stages.processor_seconds("sleep 0.6", "split") < 0.3
    with pytest.raises(subprocess.CalledProcessError):
        bench_stages.processor_seconds("exit 3", "split")
