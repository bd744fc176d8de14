"""Feature spaces that the regression predicts. Each module here computes one.

A module has `extract(stimuli, *, weights, ...) -> Features`, or `extract(captions, *, weights, ...) -> Features` where
it reads words: the features of the images that were shown, one row per image, the same every time it is called. Its
options are the section `models.<model>.<space>` of params.yaml. A space is computed by the module of its own name,
or by the one that its key `module` names:

| space  | model=mini                                | model=published                                |
|--------|-------------------------------------------|------------------------------------------------|
| vdvae  | vdvae: latents                            | vdvae: latents                                 |
| vision | efficientnet: 49 tokens x 1280, in [0, 6] | clip_vision: 257 tokens x 768                  |
| text   | minilm: n_tokens x 384, zero behind [SEP] | clip_text: 77 tokens x 768, none of them zero   |

The last two are contexts of the diffusion model's cross-attention. Features hold them flat, token after token, as in
`Features.tokens(image_ids)`, (n, n_tokens, width); a group is a token. Their modules also have

    contexts(pixels or sentences, *, weights, ...) -> float32 (n, n_tokens, width)
    unconditional(*, weights, ...) -> float32 (n_tokens, width)

for images and sentences that belong to no data set, and for guidance: the context of a uniform grey image of 127 of
255, and that of the empty caption. They take the options of `extract`, so that a section of params.yaml serves all. No
position is masked in the diffusion model, there as here.
"""
