"""Everything about a run on one page: python -m stages.page, which writes plots/report.html."""

import stages
from spikevaediff.files.atomic import replacing
from spikevaediff.parameters.runs import read_runs
from spikevaediff.report import page


def main() -> None:
    """Write the page."""
    params = stages.declared("report")
    text = page.of_run(params, read_runs(parts=stages.section(params, "parts")))
    with replacing("plots/report.html") as temporary:
        temporary.write_text(text, encoding="utf-8")
    stages.done(f"plots/report.html: {len(text) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
