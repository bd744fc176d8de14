"""A folder of the plain format as it was found: what its files hold, and what is wrong with them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spikevaediff.datasets.plain_format.findings import Findings
from spikevaediff.datasets.plain_format.response_tables import Table


@dataclass
class Examination(Findings):
    """A folder as it was found.

    problems, notes : list of str; as of Findings.
    files, captions : dict of image_id to path and to sentence (None: no column of captions).
    tested : dict of image_id to whether it is tested, and not trained on (None: no column split).
    units : dict of (session_id, unit_id) to a row of units.csv.
    tables, recordings : dict of session_id to Table and to the path of an NWB file.
    rates_hz : dict of session_id to the mean rate of the units of a recording.
    shared : int64, sorted; images that every session shows.
    """

    files: dict[int, Path] = field(default_factory=dict)
    captions: dict[int, str] | None = None
    tested: dict[int, bool] | None = None
    units: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    tables: dict[int, Table] = field(default_factory=dict)
    recordings: dict[int, Path] = field(default_factory=dict)
    rates_hz: dict[int, float] = field(default_factory=dict)
    shared: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
