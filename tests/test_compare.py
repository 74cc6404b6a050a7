import json
import subprocess
import sys
from pathlib import Path

import cli
import pytest
from compare import compare_evaluations, find_evaluation, format_ablations, format_pair

ROOT = Path(__file__).parents[1]
HARD = ("color_hard", "video_easy", "video_hard")


def evaluation(returns: dict[str, list[float]], adapted: float | None = 10.0, **settings) -> dict:
    """Of an agent whose adapting arm gains `adapted` in every episode; None where it was never asked to adapt."""
    cells = {}
    for shift, frozen in returns.items():
        cells[shift] = {"frozen": {"returns": frozen}}
        if adapted is not None:
            cells[shift]["adapted"] = {"returns": [value + adapted for value in frozen]}
    chosen = {"checkpoint": "walker", "shift": list(returns), "episodes": 2, "seed": 0, "adaptation": "default"}
    env = {"task": "walker_walk", "quality": "fast", "shift_data": None}
    return {"settings": {**chosen, **settings}, "env": env, "shifts": cells}


def test_agents_are_compared_episode_by_episode_frozen_and_adapting():
    base, agent = evaluation({"none": [100.0, 200.0]}), evaluation({"none": [130.0, 190.0]}, adapted=0.0)
    compared = compare_evaluations(base, agent)
    assert list(compared) == [("none", "frozen"), ("none", "adapted")]
    assert compared["none", "frozen"].difference.mean == 10
    assert (compared["none", "frozen"].won, compared["none", "frozen"].lost) == (1, 1)
    assert compared["none", "adapted"].difference.mean == 0


def test_the_mean_of_the_hard_shifts_is_taken_within_each_episode():
    # What one episode loses under one shift it wins under another: their mean does not vary.
    base = evaluation({shift: [100.0, 100.0] for shift in HARD})
    agent = evaluation(dict(zip(HARD, ([90.0, 110.0], [110.0, 90.0], [100.0, 100.0]), strict=True)))
    mean = compare_evaluations(base, agent)["mean of 3", "frozen"].difference
    assert (mean.mean, mean.low, mean.high) == (0, 0, 0)
    easy = evaluation({"none": [1.0, 1.0]})
    assert list(compare_evaluations(easy, easy)) == [("none", "frozen"), ("none", "adapted")]


def test_what_one_of_both_did_not_meet_is_left_out():
    base = evaluation({"none": [1.0, 2.0], "color_hard": [1.0, 2.0]}, adapted=None)
    assert list(compare_evaluations(base, evaluation({"color_hard": [3.0, 4.0]}))) == [("color_hard", "frozen")]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, "seed is 0 in one and 1 in the other"),
        ({"episodes": 3}, "episodes is 2 in one and 3 in the other"),
        ({"quality": "standard"}, "quality is fast in one and standard in the other"),
        ({"shift_data": "videos"}, "shift_data is None in one and videos in the other"),
    ],
)
def test_agents_that_met_other_episodes_are_not_compared(changed, message):
    returns = {"none": [1.0, 2.0]}
    with pytest.raises(cli.BadInput, match=message):
        compare_evaluations(evaluation(returns), evaluation(returns, **changed))


def test_agents_that_met_no_shift_in_common_are_not_compared():
    with pytest.raises(cli.BadInput, match="no shift in common: one met none, the other color_hard"):
        compare_evaluations(evaluation({"none": [1.0, 2.0]}), evaluation({"color_hard": [1.0, 2.0]}))


def test_tables_name_both_agents(tmp_path):
    for name, gain in (("before", 0.0), ("after", 5.0)):
        record = evaluation({shift: [100 + gain, 200 + gain] for shift in ("none", *HARD)}, adapted=None)
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    described = [{"base": "before.json", "agent": "after.json", "change": "longer"}]
    row = format_ablations(described, tmp_path).splitlines()[-1]
    assert row.startswith("| before | after | longer | 150 → 155 (+5 [+5, +5]) |")
    assert row.endswith("|  |")  # nobody adapted
    pair = compare_evaluations(*(find_evaluation(f"{name}.json", tmp_path) for name in ("before", "after")))
    assert format_pair("before", "after", pair).startswith("| shift | policy | before | after | difference |")


def call(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "scripts" / "compare.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_compares_agents_that_ship_by_name():
    shown = call("walker_walk", "walker_walk_2")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("| shift | policy | walker_walk | walker_walk_2 |")
    other = call("walker_walk", "finger_spin")
    assert other.returncode == 2
    assert "task is walker_walk in one and finger_spin in the other" in other.stderr


def test_a_name_that_is_neither_agent_nor_file_is_told(tmp_path):
    (tmp_path / "broken.json").write_text("[1]")
    (tmp_path / "other.json").write_text('{"rows": []}')
    with pytest.raises(FileNotFoundError, match="walker_fly"):
        find_evaluation("walker_fly")
    for name in ("broken.json", "other.json"):
        with pytest.raises(cli.BadInput, match=f"{name} is not an evaluation file"):
            find_evaluation(name, tmp_path)
