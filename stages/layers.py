"""Study what each layer of the VDVAE carries: python -m stages.layers"""

import stages
from spikevaediff.analysis.layers import study
from spikevaediff.records import Features, Stimuli


def main() -> None:
    """Write artifacts/layers.npz."""
    params = stages.declared("layers")
    model = stages.section(params, "model")
    options = stages.section(params, "models", model, "vdvae") | stages.section(params, "layers")
    stages.check_options(study, options, f"models.{model}.vdvae with layers", passed=("batch_size", "device"))
    options |= stages.compute()
    options["weights"] = stages.weights_path(options["weights"])
    found = study(Stimuli.load("artifacts/images.npz"), Features.load("artifacts/predicted/vdvae.npz"), **options)
    found.save("artifacts/layers.npz")
    total = found.bits.sum(1).mean()
    stages.done(f"layers: {len(found.layer_name)} layers, {len(found.image_id)} images, {total:.0f} bits per image")


if __name__ == "__main__":
    main()
