#!/usr/bin/env bash
# The main job from one command: the shipped cartpole agent, frozen and adapting, on the same episodes
# of the training environment, a colour shift and a video background. Results go to demo/.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
exec .venv/bin/python scripts/eval.py --checkpoint cartpole_swingup --adapt --shift none color_hard video_easy \
    --episodes 10 --output demo/result.json --figure demo/figure.png --video demo --wandb disabled "$@"
