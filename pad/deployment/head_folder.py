"""A fitted head in a folder on disk: safe to open, and whole after a crash."""

from pathlib import Path

import safetensors.torch
import yaml

from pad import settings
from pad.calibration import Calibration
from pad.deployment.torch_policy import TorchPolicy
from pad.files import first_line, write_folder

FORMAT = 1
"""Raised when an older version of this package could not read what this one writes."""


def save_head(folder: str | Path, policy: TorchPolicy) -> None:
    """Write what `fit_head` learned, the encoder included: a crash leaves what was there.

    Raises:
        FileExistsError: when the folder is there and holds anything but a head: it would be replaced with all in it.
    """
    folder = Path(folder)
    if folder.exists() and not _is_head(folder):
        raise FileExistsError(f"{folder} is there already and holds no head, or other things beside it")
    # A layer under two names is written once; `load_model` knows both.
    named, kept = (*policy.network.named_parameters(), *policy.network.named_buffers()), policy.network.state_dict()
    weights = {name: value.detach().cpu().contiguous() for name, value in named if name in kept}
    calibration = None if policy.calibration is None else settings.to_dict(policy.calibration)
    about = {"head": FORMAT, "origin": policy.origin, "policy": policy.described, "calibration": calibration}
    described = yaml.safe_dump(about, sort_keys=False).encode()
    write_folder(folder, {"config.yaml": described, "model.safetensors": safetensors.torch.save(weights)})


def _is_head(folder: Path) -> bool:
    """Whether a folder is what `save_head` wrote, with nothing beside it."""
    if not folder.is_dir() or {path.name for path in folder.iterdir()} != {"config.yaml", "model.safetensors"}:
        return False
    try:
        about = yaml.safe_load((folder / "config.yaml").read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(about, dict) and "head" in about


def load_head(folder: str | Path, policy: TorchPolicy) -> TorchPolicy:
    """A copy of a policy with the head, the encoder and the calibration that `save_head` wrote, ready to adapt.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when it is corrupt, or of another policy.
    """
    folder = Path(folder)
    for candidate in (folder, folder.with_name(f"{folder.name}.old")):
        if (candidate / "config.yaml").is_file():
            break
    else:
        raise FileNotFoundError(f"no head at {folder}: no such folder with a config.yaml")
    try:
        about = yaml.safe_load((candidate / "config.yaml").read_text())
        if about["head"] > FORMAT:
            raise ValueError(f"it has format {about['head']}, this version reads up to {FORMAT}: update pad")
        if about.get("origin", policy.origin) != policy.origin:
            raise ValueError("it was fitted to an encoder with other weights than this policy's")
        for name, here in policy.described.items():
            if (there := about.get("policy", {}).get(name, here)) != here:
                raise ValueError(f"it was fitted to a policy with {name} {there}, this one has {here}")
        loaded = policy.copy()
        safetensors.torch.load_model(loaded.network, candidate / "model.safetensors")
        if not all(bool(value.isfinite().all()) for value in loaded.network.state_dict().values()):
            raise ValueError("it holds NaN or infinite weights")
        loaded.fitted = True
        if about["calibration"]:
            loaded.calibration = settings.from_dict(Calibration, about["calibration"], "calibration")
    except Exception as error:  # whatever a foreign file makes its readers say
        raise ValueError(f"{candidate} does not hold a head of this policy: {first_line(error)}") from error
    return loaded
