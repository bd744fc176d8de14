"""Which parameters have changed since a run."""

from pathlib import Path

from ruamel.yaml import YAML

from spikevaediff.tools.since_run import since_run

RAN = {"seed": 0, "areas": {"visual": ["V1"], "control": "CA1"}, "datasets.mine": {"window_s": [0.0, 0.1]}}
NOW = {"seed": 0, "areas": {"visual": ["V1"], "control": "CA1"}, "datasets": {"mine": {"window_s": [0.0, 0.1]}}}


def test_parameters_of_the_last_stage_are_compared_path_by_path(tmp_path: Path) -> None:
    assert since_run(tmp_path, NOW) == []  # nothing is known
    with (tmp_path / "dvc.lock").open("w") as file:
        YAML().dump({"stages": {"report": {"params": {"params.yaml": RAN}}}}, file)
    assert since_run(tmp_path, NOW | {"compute": {"device": "cpu"}}) == []
    changed = NOW | {"areas": {"visual": ["V4"], "control": "CA1"}, "datasets": {"mine": {"window_s": [0.0, 0.2]}}}
    assert since_run(tmp_path, changed) == ["areas.visual", "datasets.mine.window_s"]
    (tmp_path / "dvc.lock").write_text("stages: [")
    assert since_run(tmp_path, changed) == []
