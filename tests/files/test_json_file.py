"""JSON between stages: floats rounded, everything else as it is."""

import json
from pathlib import Path

from spikevaediff.files import json_file


def test_floats_are_rounded_wherever_they_stand(tmp_path: Path) -> None:
    value = {"a": 0.1234567, "b": [1, 2.0000001, {"c": None}], "d": "0.1234567", "e": True}
    json_file.write(tmp_path / "new/x.json", value)
    text = (tmp_path / "new/x.json").read_text()
    assert json.loads(text) == {"a": 0.12346, "b": [1, 2.0, {"c": None}], "d": "0.1234567", "e": True}
    assert text.endswith("}\n")
    json_file.write(tmp_path / "all.json", [0.1234567], digits=None, indent=2)
    assert (tmp_path / "all.json").read_text() == "[\n  0.1234567\n]\n"
