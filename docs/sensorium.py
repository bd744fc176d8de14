"""An unpacked mouse of SENSORIUM 2022 into a folder of the plain format: python docs/sensorium.py MOUSE FOLDER"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

mouse, out = Path(sys.argv[1]), Path(sys.argv[2])
session = mouse.name.removeprefix("static").split("-")[0]
shown, tier, when = (np.load(mouse / f"meta/trials/{name}.npy") for name in ("frame_image_id", "tiers", "trial_idx"))
# Names of files do not tell the order of trials. Responses to final_test are withheld.
order = [i for i in np.argsort(when, kind="stable").tolist() if tier[i] != "final_test"]
responses = np.stack([np.load(mouse / f"data/responses/{i}.npy") for i in order]).astype(np.float32)
if not responses.any(1).all():
    sys.exit(f"{mouse}: responses are 0 in {(~responses.any(1)).sum()} trials: those of the competition are withheld")
units = np.load(mouse / "meta/neurons/unit_ids.npy").astype(np.int64)
for folder in ("images", "sessions"):
    (out / folder).mkdir(parents=True, exist_ok=True)
lines = ["image_id,file,caption"]
for image in np.unique(shown[order]).tolist():
    pixels = np.load(mouse / f"data/images/{next(i for i in order if shown[i] == image)}.npy")
    Image.fromarray(pixels[0].round().clip(0, 255).astype(np.uint8)).save(out / f"images/{image}.png")
    lines.append(f"{image},{image}.png,")
(out / "images.csv").write_text("\n".join(lines) + "\n")
(out / "units.csv").write_text("session_id,unit_id,area\n" + "".join(f"{session},{unit},V1\n" for unit in units))
np.savez(out / f"sessions/{session}.npz", responses=responses, image_id=shown[order].astype(np.int64), unit_id=units)
