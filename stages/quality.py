"""What each session is worth before anything is decoded from it: python -m stages.quality

What the numbers are: recordings.session_quality, recordings.quality and recordings.identity.
"""

from pathlib import Path
from typing import Any

import stages
from spikevaediff.files import json_file, tables
from spikevaediff.recordings import session_quality, sessions
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.records import Stimuli


def main() -> None:
    """Write artifacts/quality/quality.json, one entry per session, and units.csv, one row per unit."""
    params = stages.declared("quality")
    options, responses = stages.section(params, "quality"), stages.section(params, "responses")
    stages.check_options(session_quality.judged, options, "quality", passed=("areas", "window_s", "limits"))
    limits, areas = Limits.of(responses), sessions.areas_of(stages.section(params, "areas"))
    paths = sessions.paths(Path("artifacts/sessions"))
    windows = sessions.windows(paths, **{name: responses[name] for name in ("start_s", "duration_s", "n_bins")})
    given = {"areas": areas, "window_s": (float(windows[0, 0]), float(windows[-1, 1])), "limits": limits} | options
    result: dict[str, Any] = {"source": Stimuli.load("artifacts/images.npz").source, "sessions": {}}
    rows: list[dict[str, Any]] = []
    for path in paths:
        result["sessions"][path.stem], units = session_quality.judged(path, **given)
        rows += units
        stages.done(session_quality.report_line(path, result["sessions"][path.stem], len(units)))
    json_file.write("artifacts/quality/quality.json", result)
    tables.write("artifacts/quality/units.csv", rows, significant=("mean_response",))


if __name__ == "__main__":
    main()
