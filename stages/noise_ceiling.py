"""How well a feature space could be predicted at most: python -m stages.noise_ceiling RUN SPACE POPULATION

What the numbers are: spikevaediff.evaluation.noise_ceiling.
"""

import sys

import stages
from spikevaediff.evaluation import noise_ceiling
from spikevaediff.files import json_file
from spikevaediff.parameters.of_space import of_space
from spikevaediff.records import Stimuli
from spikevaediff.regression import jax_cache, task


def main(run: str, space: str, population: str) -> None:
    """Write artifacts/noise_ceiling/RUN.json, and predictions from two halves, artifacts/predicted/RUN_half_a.npz."""
    params = stages.declared(f"noise_ceiling@{run}")
    ceiling = stages.section(params, "noise_ceiling")
    regress = of_space(stages.section(params, "regress"), space)
    stages.check_options(noise_ceiling.of_task, ceiling, "noise_ceiling")
    method = stages.module("regression/methods", regress["method"])
    stages.check_options(method.fit, task.options_of(regress), f"regress.{space}", stage=task.OWN, passed=task.GIVEN)
    source = Stimuli.load("artifacts/images.npz").source
    job = task.load("artifacts", space, population, regress, method)
    result, halves = noise_ceiling.of_task(job, source, f"{run}: folds", **ceiling)
    for name, half in zip("ab", halves, strict=True):
        half.save(f"artifacts/predicted/{run}_half_{name}.npz")
    json_file.write(f"artifacts/noise_ceiling/{run}.json", result)
    stages.done(f"{run}: {noise_ceiling.report_line(result)}")


if __name__ == "__main__":
    jax_cache.keep()
    main(*sys.argv[1:])
