"""Sum up all runs in the small files that Git keeps: python -m stages.report"""

from rich.console import Console

import stages
from spikevaediff.files.atomic import replacing
from spikevaediff.parameters.runs import read_runs
from spikevaediff.report import results
from spikevaediff.report.facts import short


def main() -> None:
    """Write metrics/metrics.json, metrics/statistics.json and plots/."""
    params = stages.declared("report")
    dataset, areas, options = (stages.section(params, name) for name in ("dataset", "areas", "report"))
    wanted = read_runs(parts=stages.section(params, "parts"))
    stages.check_options(results.of_run, options, "report")
    files, means, title = results.of_run(dataset, short(areas["control"]), wanted, **options)
    for path, content in files.items():
        with replacing(path) as temporary:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    Console(width=120).print(results.printed(means, title))
    stages.done("metrics/metrics.json and plots/ written")


if __name__ == "__main__":
    main()
