import json
from pathlib import Path

import cli
import pytest
from compare import compare_evaluations, differing_adaptation, find_evaluation, format_ablations, format_pair, titles
from test_commands import ROOT, call

HARD = ("color_hard", "video_easy", "video_hard")


def evaluation(returns: dict[str, list[float]], adapted: float | None = 10.0, **settings) -> dict:
    """Of an agent whose adapting arm gains `adapted` in every episode; None where it was never asked to adapt."""
    cells = {}
    for shift, frozen in returns.items():
        cells[shift] = {"frozen": {"returns": frozen, "seeds": [7, 8]}}
        if adapted is not None:
            cells[shift]["adapted"] = {"returns": [value + adapted for value in frozen], "seeds": [7, 8]}
    chosen = {"checkpoint": "walker", "shift": list(returns), "episodes": 2, "seed": 0, "adaptation": "default"}
    env = {"task": "walker_walk", "quality": "fast", "shift_data": None}
    return {"settings": {**chosen, **settings}, "env": env, "shifts": cells}


def write(path: Path, record: dict) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record))


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
    hard = {shift: [1.0, 2.0] for shift in HARD}
    base = evaluation({"none": [1.0, 2.0], **hard}, adapted=None)
    assert list(compare_evaluations(base, evaluation({"color_hard": [3.0, 4.0]}))) == [("color_hard", "frozen")]
    agent = evaluation(hard)
    del agent["shifts"]["video_hard"]["adapted"]
    found = compare_evaluations(evaluation(hard), agent)
    assert ("mean of 3", "frozen") in found
    assert ("mean of 3", "adapted") not in found


def test_a_file_of_a_single_shift_is_compared_as_one_of_several():
    alone = evaluation({"none": [1.0, 2.0]})
    (cell,) = alone.pop("shifts").values()
    assert ("none", "frozen") in compare_evaluations({**alone, **cell}, evaluation({"none": [1.0, 2.0]}))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1, "episodes": 3}, "seed is 0 and 1, episodes is 2 and 3"),
        ({"quality": "standard"}, "quality is fast and standard"),
        ({"shift_data": "videos"}, "shift_data is None and videos"),
        ({"shift_split": "train"}, "shift_split is None and train"),
    ],
)
def test_agents_that_met_other_episodes_are_not_compared(changed, message):
    returns = {"none": [1.0, 2.0]}
    with pytest.raises(cli.BadInput, match=message):
        compare_evaluations(evaluation(returns), evaluation(returns, **changed))


@pytest.mark.parametrize(("key", "value"), [("task", "walker_stand"), ("episode_length", 500), ("action_repeat", 2)])
def test_agents_of_other_environments_are_not_compared(key, value):
    base, agent = (evaluation({"none": [1.0, 2.0]}) for _ in range(2))
    agent["env"][key] = value
    with pytest.raises(cli.BadInput, match=f"{key} is .* and {value}"):
        compare_evaluations(base, agent)


def test_the_tasks_own_action_repeat_is_the_same_spelled_out_or_not():
    base, agent = (evaluation({"none": [1.0, 2.0]}) for _ in range(2))
    agent["env"]["action_repeat"] = 4
    assert compare_evaluations(base, agent)


def test_the_folder_that_an_agent_was_trained_before_is_not_the_one_that_it_met():
    base, agent = (evaluation({"none": [1.0, 2.0]}) for _ in range(2))
    agent["env"]["shift_data"] = "films"
    assert compare_evaluations(base, agent)
    with pytest.raises(cli.BadInput, match="shift_data is films and None"):
        compare_evaluations(evaluation({"none": [1.0, 2.0]}, shift_data="films"), agent)


def test_other_seeds_are_other_episodes():
    base, agent = (evaluation({"none": [1.0, 2.0]}) for _ in range(2))
    agent["shifts"]["none"]["frozen"]["seeds"] = [8, 9]
    with pytest.raises(cli.BadInput, match="the seeds of frozen differ"):
        compare_evaluations(base, agent)


def test_in_environments_of_the_users_where_training_was_does_not_matter():
    scene = "robot:make"
    base, agent = (evaluation({scene: [0.1, 0.2]}, env=[scene]) for _ in range(2))
    agent["env"] = {}
    assert (scene, "frozen") in compare_evaluations(base, agent)


def test_agents_that_met_nothing_in_common_are_not_compared():
    with pytest.raises(cli.BadInput, match="nothing in common: one met none, the other color_hard"):
        compare_evaluations(evaluation({"none": [1.0, 2.0]}), evaluation({"color_hard": [1.0, 2.0]}))


def test_tables_name_both_agents_and_show_small_returns(tmp_path):
    for name, gain in (("before", 0.0), ("after", 5.0)):
        record = evaluation({shift: [100 + gain, 200 + gain] for shift in ("none", *HARD)}, adapted=None)
        write(tmp_path / f"{name}.json", record)
    described = [{"base": "before.json", "agent": "after.json", "change": "longer"}]
    row = format_ablations(described, tmp_path / "ablations.json").splitlines()[-1]
    assert row.startswith("| before | after | longer | 150 → 155 (+5 [+5, +5]) |")
    assert row.endswith("|  |")  # nobody adapted
    pair = compare_evaluations(evaluation({"none": [0.5, 0.5]}), evaluation({"none": [0.25, 0.25]}, adapted=None))
    header, _, row = format_pair("before", "after", pair).splitlines()
    assert header == "| met | policy | before | after | difference | won / lost / tied |"
    assert row == (
        "| none | frozen | 0.500 [0.500, 0.500] | 0.250 [0.250, 0.250] | -0.250 [-0.250, -0.250] | 0 / 2 / 0 |"
    )


def test_a_pair_that_cannot_be_compared_is_told_by_its_place(tmp_path):
    described = [{"base": "walker_walk", "agent": "nowhere.json", "change": "none"}]
    with pytest.raises(cli.BadInput, match=r"ablations.json: ablations\[0\]: no evaluation 'nowhere.json'"):
        format_ablations(described, tmp_path / "ablations.json")


def test_files_that_are_called_alike_are_told_apart():
    assert titles("walker_walk", "runs/later.json") == ["walker_walk", "later"]
    assert titles("a/evaluation.json", "b/evaluation.json") == ["a", "b"]
    assert titles("a/result.json", "b/result.json") == ["a/result", "b/result"]
    assert titles("runs/lr_0.1", "runs/lr_0.5") == ["lr_0.1", "lr_0.5"]
    assert titles("runs/lr_0.1/evaluation.json", "runs/lr_0.5/evaluation.json") == ["lr_0.1", "lr_0.5"]


def test_the_command_compares_agents_that_ship_by_name():
    shown = call("compare.py walker_walk walker_walk_2", ROOT)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("| met | policy | walker_walk | walker_walk_2 |")
    assert "They adapt" not in shown.stdout
    same = call("compare.py walker_walk walker_walk", ROOT)
    assert same.returncode == 2
    assert "one and the same evaluation" in same.stderr


def test_that_two_evaluations_adapt_in_different_ways_is_said():
    shown = call("compare.py walker_walk results/walker_walk_home.json", ROOT)
    assert "They adapt in different ways: adaptation: default, configs/home/home.yaml" in shown.stdout
    # A flag over settings of the same name counts, the number format of the machine does not.
    settings = [{"learning_rate": rate, "precision": precision, "guards": {"trial": 2}}
                for rate, precision in ((1e-2, "float32"), (1e-1, "bfloat16"))]  # fmt: skip
    base, agent = (evaluation({"none": [1.0, 2.0]}, adapter=adapter) for adapter in settings)
    assert differing_adaptation(base, agent) == ["learning_rate: 0.01, 0.1"]
    assert differing_adaptation(base, base) == []
    agent["settings"]["adapter"] = {**settings[0], "guards": {"trial": None}}
    assert differing_adaptation(base, agent) == ["guards.trial: 2, None"]
    assert differing_adaptation(base, evaluation({"none": [1.0, 2.0]})) == []  # an older file does not say


def test_a_name_that_is_neither_agent_nor_file_is_told_with_those_that_are(tmp_path):
    with pytest.raises(FileNotFoundError, match="'walker_fly': neither a file nor an agent that ships: .*walker_walk"):
        find_evaluation("walker_fly")
    assert find_evaluation(str(ROOT / "pad" / "zoo" / "walker_walk")) == find_evaluation("walker_walk")
    write(tmp_path / "walker_walk.json", evaluation({"none": [1.0, 2.0]}))
    assert find_evaluation("walker_walk", tmp_path)["settings"]["episodes"] == 50


def test_files_that_are_no_whole_evaluation_are_told(tmp_path):
    (tmp_path / "broken.json").write_text("[1]")
    (tmp_path / "other.json").write_text('{"rows": []}')
    write(tmp_path / "nowhere.json", {**evaluation({"none": [1.0, 2.0]}), "env": None})
    for name in ("broken", "other", "nowhere"):
        with pytest.raises(cli.BadInput, match=f"{name}.json is not an evaluation file"):
            find_evaluation(f"{name}.json", tmp_path)
    for returns in ([1.0], [1.0, float("nan")], [1.0, "two"]):
        write(tmp_path / "short.json", evaluation({"none": returns}, adapted=None))
        with pytest.raises(cli.BadInput, match=r"short.json is not whole: none, frozen has 1 finite returns of 2"):
            find_evaluation("short.json", tmp_path)
