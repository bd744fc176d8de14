"""Contexts that guidance steers away from, of no image and of no words: python -m stages.unconditional"""

import stages
from spikevaediff.decoders.second_stage import unconditional


def main() -> None:
    """Write artifacts/unconditional, one file of Features per space."""
    params = stages.declared("unconditional")
    model = stages.section(params, "models", stages.section(params, "model"))
    for space, context in unconditional.contexts(model, stages.weights_path, stages.compute()["device"]).items():
        context.save(f"artifacts/unconditional/{space}.npz")
    stages.done("contexts of no image and of the empty caption")


if __name__ == "__main__":
    main()
