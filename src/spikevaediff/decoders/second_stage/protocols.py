"""Protocols of the second stage: ours, and that of the published script with the numbers that belong to it."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Protocol:
    """How a start image becomes the first latent, and the last latent an image.

    stored_schedule : bool; the schedule is what the checkpoint holds, rounded to float16 there, and not the formula.
    published_noising : bool; the start is noised for one step more than is taken; see sampler.denoise.
    drawn_latents : bool; the latents of the start are drawn from the autoencoder's posterior; else its mean.
    cut_off : bool; grey levels are cut off; else rounded.
    numbers : dict of option to value; those that belong to it. Another number is another protocol.
    """

    stored_schedule: bool = False
    published_noising: bool = False
    drawn_latents: bool = False
    cut_off: bool = False
    numbers: dict[str, float] = field(default_factory=dict, hash=False)


PROTOCOLS = {
    "strict": Protocol(),
    # The reconstruction script of Ozcelik & VanRullen 2023. Its flag --mix is 0.4, the weight of text.
    "brain_diffuser_2023": Protocol(
        stored_schedule=True,
        published_noising=True,
        drawn_latents=True,
        cut_off=True,
        numbers={
            "strength": 0.75,
            "mixing": 0.6,
            "guidance": 7.5,
            "steps": 50,
            "eta": 0.0,
            "guidance_likelihood": 0.0,
            "start_share": 0.0,
        },
    ),
}


def protocol_of(name: str, **numbers: float) -> Protocol:
    """The protocol of this name, if these are its numbers.

    Raises
    ------
    KeyError
        There is none of this name; the message lists those there are.
    ValueError
        A number is another than that of the protocol.
    """
    if name not in PROTOCOLS:
        raise KeyError(f"there is no diffusion protocol {name!r}; there are {', '.join(PROTOCOLS)}")
    own = PROTOCOLS[name].numbers
    other = [f"{key} is {given!r}, not {own[key]!r}" for key, given in numbers.items() if own.get(key, given) != given]
    if other:
        raise ValueError(f"protocol {name}: {'; '.join(other)}. Set the numbers of the protocol, or protocol strict")
    return PROTOCOLS[name]
