"""Before anything else, look at what is given and withdraw the numbers of the last run: python -m stages.start"""

from pathlib import Path

from ruamel.yaml import YAML

import stages
from spikevaediff.files.atomic import replacing
from spikevaediff.files.vendored import check_data, older_copy
from spikevaediff.files.weights_used import write_weights
from spikevaediff.parameters import check, of_folder, own, runs
from spikevaediff.parameters.reached import write_code
from spikevaediff.report.unread import unread
from spikevaediff.report.withdraw import withdraw


def main() -> None:
    """Refuse what cannot be meant; then remove what report and page wrote, which they will write again."""
    check.refuse_aliases(Path("params.yaml"))
    params, reader = stages.params_yaml(), YAML(typ="safe")
    check.refuse([*check.of_sections(params), *check.of_choices(params)])
    check.refuse(own.problems(params))
    pipeline = reader.load(Path("dvc.yaml"))
    check.refuse(runs.problems(reader.load(Path("runs.yaml")), pipeline), "runs.yaml")
    check_data(Path("vendor/data"), params["dataset"])
    check.refuse(of_folder.problems(params, Path("vendor/data")))
    if n := withdraw(pipeline):
        print(f"{n} files of the last run in metrics/ and plots/ are withdrawn until `report` is reached")
    if ignored := unread(params):
        print(f"not read, given the other parameters: {', '.join(ignored)}")
    runs.write_parts("artifacts/parts", params["parts"])
    write_code(Path.cwd())
    write_weights(Path.cwd(), params)
    with replacing("artifacts/started") as temporary:
        temporary.write_text("A run has begun.\n", encoding="utf-8")  # always the same, or everything would run again
    stages.done(f"data set {params['dataset']}{older_copy(reader.load(Path('data.dvc')))}")


if __name__ == "__main__":
    main()
