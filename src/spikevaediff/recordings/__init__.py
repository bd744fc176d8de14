"""From a recording to responses: session files, units, spike counts, preprocessing, and what a recording is worth."""
