"""The vocabulary of the project: what travels between stages, checked when it is made.

Every record is a frozen dataclass of NumPy arrays and strings. Most are kept as an uncompressed npz without pickle
(np.savez writes the same bytes for the same arrays, which is what lets DVC recognise a result), captions as CSV and
reconstructions as a folder of PNGs. Rows are found by id, never by position.
"""

from spikevaediff.records.captions import Captions
from spikevaediff.records.features import Features, LayerStudy
from spikevaediff.records.ids import BLANK, LONGEST_WINDOW_S, few, group_edges, rows_of, same_windows
from spikevaediff.records.images import Reconstructions, Samples, Stimuli
from spikevaediff.records.npz import DAMAGED, read_npz
from spikevaediff.records.responses import LibraryResponses, Responses, UnitTable
from spikevaediff.records.split import ImageSplit

__all__ = [
    "BLANK",
    "DAMAGED",
    "LONGEST_WINDOW_S",
    "Captions",
    "Features",
    "ImageSplit",
    "LayerStudy",
    "LibraryResponses",
    "Reconstructions",
    "Responses",
    "Samples",
    "Stimuli",
    "UnitTable",
    "few",
    "group_edges",
    "read_npz",
    "rows_of",
    "same_windows",
]
