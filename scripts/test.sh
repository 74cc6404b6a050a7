#!/usr/bin/env bash
# Runs the tests: bash scripts/test.sh [pytest options]. The slow ones too: bash scripts/test.sh -m "slow or not slow"
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
exec .venv/bin/python -m pytest -n "${PAD_TEST_WORKERS:-2}" "$@"
