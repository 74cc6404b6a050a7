"""What the tests share. Shapes of `pad`'s tensor functions are checked while they run."""

import copy
import os
import random
import re
import signal
from pathlib import Path

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in what a shell started in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["WANDB_MODE"] = "disabled"
os.environ.pop("PAD_SHIFTS", None)  # tests name the shifts they want

from jaxtyping import install_import_hook

PAD = Path(__file__).parents[1] / "pad"
SHAPES = set(re.findall(r"^(\w+) = .*\[Tensor, ", (PAD / "types.py").read_text(), re.MULTILINE))


def says_shapes(path: Path) -> bool:
    """Whether a module declares shapes of tensors."""
    (imported,) = re.findall(r"^from pad.types import \(?([\w, \n]+)", path.read_text(), re.MULTILINE) or [""]
    return bool(SHAPES & set(re.findall(r"\w+", imported)))


# Of these modules alone: to check every call of the others takes half as long again as all tests. Not as a context: the
# hook must still be there when the modules below are imported.
install_import_hook(
    [".".join(path.relative_to(PAD.parent).with_suffix("").parts) for path in PAD.rglob("*.py") if says_shapes(path)],
    "beartype.beartype",
)

import hypothesis
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from envs.gradient import make_gradient_env
from pad.agent import Agent, AgentConfig
from pad.encoder import EncoderConfig
from pad.types import Batch

torch.set_num_threads(1)
# A busy machine may keep any example waiting.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

SMALL = AgentConfig(
    EncoderConfig(crop_size=20, filters=8, strides=(2, 1, 1), shared_layers=2, projection=12), hidden=16
)


def make_agent(seed: int = 0, config: AgentConfig = SMALL, critic: bool = True) -> Agent:
    """A small agent for the gradient-image environment."""
    torch.manual_seed(seed)
    return Agent((9, 24, 24), 2, config, critic=critic)


def with_fields(config, **fields):
    """Settings with values that their types do not allow: as Python makes them where nothing checks types."""
    other = copy.copy(config)
    vars(other).update(fields)
    return other


def inverse_dynamics_loss_on(agent: Agent, batch: Batch) -> torch.Tensor:
    """Of crops, each encoded by itself."""
    features = agent.encoder(torch.cat([batch.obs, batch.next_obs]))
    return F.mse_loss(agent.inverse_dynamics(*features.chunk(2)), batch.action)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What a test draws from the shared generators does not depend on the tests before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  # the one that others draw from
    torch.manual_seed(0)


@pytest.fixture
def agent() -> Agent:
    return make_agent()


@pytest.fixture
def batch() -> Batch:
    """Eight transitions of crops that the small agent takes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2, 8, 9, 20, 20), dtype=torch.uint8, generator=generator)
    return Batch(
        obs=images[0],
        action=torch.rand(8, 2, generator=generator) * 2 - 1,
        reward=torch.rand(8, generator=generator),
        terminated=torch.tensor([True] + [False] * 7),
        next_obs=images[1],
        extras={"expert_action": torch.rand(8, 2, generator=generator) * 2 - 1},
    )


@pytest.fixture
def transition() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """obs, action, next_obs as a control loop has them."""
    rng = np.random.default_rng(0)
    obs, next_obs = rng.integers(256, size=(2, 9, 24, 24), dtype=np.uint8)
    return obs, rng.uniform(-1, 1, 2).astype(np.float32), next_obs


@pytest.fixture
def gradient_env():
    return make_gradient_env()
