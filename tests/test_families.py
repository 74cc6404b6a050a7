from pathlib import Path
from types import SimpleNamespace

import yaml
from families import by_family, family
from gains import format_gains
from test_gains import HARD, record

from results import compare_with_published

ROOT = Path(__file__).parents[1]


def comparison(frozen: float, adapted: float):
    return SimpleNamespace(frozen=SimpleNamespace(mean=frozen), adapted=SimpleNamespace(mean=adapted))


def cells_of(agent: str, task: str, frozen: float) -> dict:
    return {(agent, shift): (task, comparison(frozen, frozen + 10)) for shift in HARD}


def test_agents_that_were_cloned_before_backgrounds_have_rows_and_means_of_their_own():
    cells = (
        cells_of("a_backgrounds", "walker_walk", 800)
        | cells_of("a", "walker_walk", 100)
        | cells_of("a_2", "walker_walk", 200)
        | cells_of("b", "finger_spin", 350)
    )
    rows = [[part.strip() for part in line.split("|")[1:4]] for line in compare_with_published(cells).splitlines()[2:]]
    assert rows == [
        ["walker_walk", "150", "160"],
        ["finger_spin", "350", "360"],
        ["mean of 2", "250", "260"],
        ["walker_walk, trained with random backgrounds", "800", "810"],
    ]


def test_the_gains_of_a_family_are_told_apart():
    records = [record(name, "walk", {shift: [10.0, 20.0] for shift in HARD}) for name in ("a_backgrounds_2", "a")]
    families = by_family(records, lambda r: r["settings"]["checkpoint"])
    assert [len(members) for members in families.values()] == [1, 1]
    assert list(families) == ["", "trained with random backgrounds"]
    assert format_gains(records[:1], "trained with random backgrounds").startswith(
        "Means over 1 task, 1 agent trained with random backgrounds:"
    )


def test_the_names_of_shipped_agents_tell_their_family():
    for path in (ROOT / "pad" / "zoo").glob("*/training.yaml"):
        augmentations = yaml.safe_load(path.read_text())["training"]["clone"]["augmentations"]
        assert bool(family(path.parent.name)) == ("random_background" in augmentations), path


def test_a_folder_says_nothing_of_how_an_agent_was_trained():
    assert family("/data/no_backgrounds/walker_run") == ""
    assert family("runs/walker_backgrounds_2") == "trained with random backgrounds"
