import pytest
from gains import format_gains, format_learning, format_regret, mean_gain, share_learned

HARD = ("color_hard", "video_easy", "video_hard")


def record(agent: str, task: str, gains: dict[str, list[float]]) -> dict:
    """An evaluation whose frozen policy always has a return of 100."""
    cells = {
        shift: {
            "frozen": {"returns": [100.0] * len(values)},
            "adapted": {
                "returns": [100 + value for value in values],
                "updates": [3] * len(values), "guards": [{"gate": 1}] * len(values),
            },
        }
        for shift, values in gains.items()
    }  # fmt: skip
    return {"settings": {"checkpoint": agent}, "env": {"task": task}, "shifts": cells}


RECORDS = [
    record("walker", "walk", {shift: [10.0, 20.0] for shift in ("none", *HARD)}),
    record("walker_2", "walk", {shift: [30.0, 40.0] for shift in HARD}),
    record("finger", "spin", {shift: [-8.0, -8.0] for shift in HARD}),
]


def test_tasks_count_alike_in_the_mean_gain_and_losers_are_named():
    gain = mean_gain(RECORDS, HARD)
    assert gain.frozen == 100
    assert gain.over_episodes.mean == pytest.approx(((15 + 35) / 2 - 8) / 2)
    assert gain.adapted == pytest.approx(108.5)
    assert gain.lost == ["finger (-8.0)"]
    assert gain.over_tasks.low <= -8 < gain.over_episodes.low


def test_a_single_episode_names_no_loser():
    assert mean_gain([record("finger", "spin", {"none": [-8.0]})], ("none",)).lost == []


def test_the_episodes_of_all_shifts_are_drawn_together():
    # What is lost under one shift is won under another, in the same episode: the mean of both does not vary.
    opposite = record("walker", "walk", {"none": [-10.0, 10.0], "color_easy": [10.0, -10.0]})
    interval = mean_gain([opposite], ("none", "color_easy")).over_episodes
    assert interval.low == interval.high == 0


def test_the_table_holds_the_shifts_that_all_agents_met_and_the_mean_of_the_hard_ones():
    rows = [line.split("|")[1].strip() for line in format_gains(RECORDS).splitlines() if line.startswith("|")]
    assert rows == ["shift", "---", *HARD, "**mean of 3**"]


def test_what_random_motion_brings_stands_beside_it_where_it_was_measured():
    moved = record("walker", "walk", {"none": [10.0, 20.0]})
    moved["shifts"]["none"]["null"] = {"returns": [90.0, 96.0]}
    assert mean_gain([moved, record("finger", "spin", {"none": [5.0, 5.0]})], ("none",)).at_random.mean == -7
    assert mean_gain(RECORDS, HARD).at_random is None
    assert "| -7 [" in format_gains([moved])


def test_what_the_gate_let_through_is_a_share_of_what_it_judged():
    assert share_learned(RECORDS[0]["shifts"]["none"]["adapted"]) == 0.75
    assert share_learned({"updates": [0], "guards": [{}]}) == 0
    assert "| walker_2 |  | 75 % | 75 % | 75 % |" in format_learning(RECORDS)


def test_where_adaptation_loses_more_than_chance_is_listed_most_first():
    def cell(regret: float, at_random: float) -> dict:
        difference = {"mean": -1.0, "low": -2.0, "high": 0.0}
        return {
            "comparison": {"regret": regret, "difference": difference},
            "null_comparison": {"regret": at_random},
        }

    cells = {"none": cell(9, 5), "color_easy": cell(30, 20), "color_hard": cell(7, 5), "video_easy": cell(1, 90)}
    del cells["video_easy"]["null_comparison"]  # never asked for there
    table = format_regret([{"settings": {"checkpoint": "walker"}, "shifts": cells}])
    assert table.startswith("2 of 3 cells")
    assert table.splitlines()[-2:] == [
        "| walker | color_easy | -1 [-2, +0] | 30.0 | 20.0 |",
        "| walker | none | -1 [-2, +0] | 9.0 | 5.0 |",
    ]
