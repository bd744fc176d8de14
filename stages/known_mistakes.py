"""Make known mistakes on purpose and score them: python -m stages.known_mistakes

What they are: spikevaediff.analysis.known_mistakes.
"""

import stages
from spikevaediff.analysis import known_mistakes
from spikevaediff.files import tables
from spikevaediff.parameters.of_space import of_space
from spikevaediff.records import Stimuli
from spikevaediff.regression import jax_cache, task


def main() -> None:
    """Write artifacts/known_mistakes.csv, one row per mistake."""
    params = stages.declared("known_mistakes")
    options, seed = stages.section(params, "known_mistakes"), stages.section(params, "seed")
    stages.check_options(known_mistakes.rows, options, "known_mistakes", passed=["noise_seed"])
    regress = of_space(stages.section(params, "regress"), "vdvae")
    method = stages.module("regression/methods", regress["method"])
    stages.check_options(method.fit, task.options_of(regress), "regress.vdvae", stage=task.OWN, passed=task.GIVEN)
    job = task.load("artifacts", "vdvae", "visual", regress, method, with_library=False)
    decode, shown = stages.decoder(params, "vdvae"), Stimuli.load("artifacts/images.npz")
    rows = known_mistakes.rows(job, shown, decode, noise_seed=seed, **options)
    tables.write("artifacts/known_mistakes.csv", rows)
    stages.done(f"{len(rows)} runs with and without mistakes")


if __name__ == "__main__":
    jax_cache.keep()
    main()
