"""Deployment: a policy that acts in a control loop and keeps learning there, within bounds."""

from pad.deployment.budget import Budget
from pad.deployment.camera import Camera
from pad.deployment.config import ADAPTATIONS, NO_GUARDS, AdaptationConfig, GuardConfig
from pad.deployment.model import AgentModel, Model, as_model
from pad.deployment.policy import AdaptivePolicy, FrozenPolicy, MeasuredPolicy, PerturbedPolicy

__all__ = [
    "ADAPTATIONS",
    "NO_GUARDS",
    "AdaptationConfig",
    "AdaptivePolicy",
    "AgentModel",
    "Budget",
    "Camera",
    "FrozenPolicy",
    "GuardConfig",
    "MeasuredPolicy",
    "Model",
    "PerturbedPolicy",
    "as_model",
]
