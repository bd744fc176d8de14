"""Questions to the recordings: when, how many units, which area, which layer, and known mistakes."""
