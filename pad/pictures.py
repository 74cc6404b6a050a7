"""Pictures from a folder, to overlay observations with while an agent learns."""

from pathlib import Path

import imageio.v3 as iio
import torch
import torch.nn.functional as F

from pad.types import Images

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


def load_pictures(folder: Path, height: int, width: int, most: int = 2_000) -> Images:
    """All pictures below a folder in the order of their names, scaled to one size; of very many, evenly chosen ones.

    Raises:
        FileNotFoundError: when there are none.
        ValueError: when one cannot be read.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"no pictures ({', '.join(sorted(SUFFIXES))}) in {folder}")
    chosen = [paths[number * len(paths) // min(most, len(paths))] for number in range(min(most, len(paths)))]
    pictures = torch.empty(len(chosen), 3, height, width, dtype=torch.uint8)
    for number, path in enumerate(chosen):
        try:
            pixels = iio.imread(path, mode="RGB")
        except Exception as error:  # whatever a codec says
            raise ValueError(f"{path} is no picture: {(str(error).strip() or repr(error)).splitlines()[0]}") from error
        unit = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
        scaled = F.interpolate(unit, (height, width), mode="bilinear", antialias=True)
        pictures[number] = scaled[0].round().clamp(0, 255).to(torch.uint8)
    return pictures
