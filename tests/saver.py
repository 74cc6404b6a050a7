"""A process that forks savers for tests/test_deployment_state.py, each of which saves until it is killed.

A line on stdin starts one; the answer is its process id. Each saver appends the number of every save
that returned to the file that was named, so whoever killed it knows what must be there.
"""

import os
import sys
import time
from pathlib import Path

import torch
from conftest import make_agent

from pad import files
from pad.deployment import NO_GUARDS, AdaptationConfig, AdaptivePolicy

CONFIG = AdaptationConfig(batch_size=4, memory=4, reset="never", moves="convolutions", guards=NO_GUARDS)


def numbered(policy: AdaptivePolicy, number: int) -> None:
    """Make all that is saved tell which save it was."""
    learner = policy._learner
    for weights in (learner.weights, learner.online):
        for weight in weights:
            weight.fill_(number)
    for slots in learner._step.optimizer.state.values():
        for slot in ("exp_avg", "exp_avg_sq", "step"):
            slots[slot].fill_(number)


def numbers(snapshot: dict) -> set[float]:
    """Which saves the parts of a state are of."""
    parts = [*snapshot["weights"].values(), *snapshot["online"].values()]
    for slots in snapshot["optimizer"]["state"].values():
        parts += [slots[slot] for slot in ("exp_avg", "exp_avg_sq", "step")]
    return {number for part in parts for number in part.unique().tolist()}


def make_policy() -> AdaptivePolicy:
    """With an optimizer that has something to save."""
    policy = AdaptivePolicy(make_agent(), CONFIG)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2, 9, 24, 24), dtype=torch.uint8, generator=generator).numpy()
    policy.observe(images[0], torch.zeros(2).numpy(), images[1])
    return policy


def save_for_ever(policy: AdaptivePolicy, state: Path, done: Path, number: int) -> None:
    with done.open("ab", buffering=0) as file:
        while True:
            number += 1
            numbered(policy, number)
            policy.save(state)
            file.write(f"{number}\n".encode())


def main() -> None:
    sync = files.sync
    files.sync = lambda path: time.sleep(0.005) or sync(path)  # some file systems take no time for it
    state, done = map(Path, sys.argv[1:])
    policy = make_policy()
    for line in sys.stdin:
        child = os.fork()  # no thread runs here, so that a copy of this process is whole
        if child == 0:
            save_for_ever(policy, state, done, int(line))
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        os.waitpid(child, 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
