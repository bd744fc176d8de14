"""Predict one feature space from one population of units: python -m stages.regress RUN SPACE POPULATION"""

import sys

import stages
from spikevaediff.parameters.of_space import of_space
from spikevaediff.regression import cross_validation, jax_cache, new_responses, task


def main(run: str, space: str, population: str) -> None:
    """Write the out-of-fold prediction of every test image, what the fits chose, and a fit to all images."""
    jax_cache.keep()
    params = stages.declared(f"regress@{run}")
    regress = of_space(stages.section(params, "regress"), space)
    method = stages.module("regression/methods", regress["method"])
    stages.check_options(method.fit, task.options_of(regress), f"regress.{space}", stage=task.OWN, passed=task.GIVEN)
    job = task.load("artifacts", space, population, regress, method)
    given = (job.x, job.y, job.split, method, job.options)
    found = cross_validation.predict(
        *given,
        renormalise=job.renormalise,
        library=job.simulated,
        weights=job.library_weights,
        progress=f"{run}: folds",
    )
    # Decoders take the first; how well features are predicted is a question about the second.
    for name, values in ((run, found.renormalised[0]), (f"{run}_raw", found.raw[0])):
        job.record(values).save(f"artifacts/predicted/{name}.npz")
    found.save_choices(f"artifacts/fits/{run}.npz")
    # Never scored here: for responses to other images, see `spikevaediff predict`.
    fit, scale = cross_validation.fit_to_all(*given, library=job.simulated, weights=job.library_weights)
    new_responses.with_context(fit, scale=scale, **job.context).save(f"artifacts/fits/{run}_all_images.npz")
    stages.done(f"{run}: {job.report_line(found, fit)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
