import copy

import cli
import pytest
from evaluations import conditions, is_as_named
from test_compare import evaluation

from pad import settings
from pad.deployment import ADAPTATIONS
from results import check_comparable

DEFAULT = settings.to_dict(ADAPTATIONS["default"])


def measured_with(**changes) -> dict:
    adapter = copy.deepcopy(DEFAULT)
    for name, value in changes.items():
        part, _, inner = name.partition("__")
        (adapter["guards"] if inner else adapter)[inner or part] = value
    return {"adaptation": "default", "adapter": adapter}


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"precision": "bfloat16"}, True),
        ({"learning_rate": 1.0}, False),
        ({"guards__trial": None}, False),
        # A setting that this version does not have: off it changes nothing.
        ({"guards__stray": None}, True),
        ({"guards__stray": 2.0}, False),
        ({"guards__stray": None, "learning_rate": 1.0}, False),
    ],
)
def test_settings_are_those_of_their_name_where_all_that_differs_is_off(changes, same):
    assert is_as_named(measured_with(**changes)) == same


def test_a_setting_that_an_older_version_did_not_have_must_be_off_now():
    older = measured_with()
    for name in ("eager", "objectives", "every"):  # off, the one objective, and at every decision
        del older["adapter"][name]
    del older["adapter"]["guards"]["home"]
    assert is_as_named(older)
    del older["adapter"]["guards"]["trial"]
    assert not is_as_named(older)


def test_what_a_recorded_quality_leaves_open_is_that_of_the_environment():
    records = [evaluation({"none": [1.0, 2.0]}, checkpoint=str(n), quality=None) for n in range(2)]
    check_comparable([records[0], {**records[1], "settings": {**records[1]["settings"], "quality": "fast"}}])
    records[1]["env"] = {**records[1]["env"], "quality": "standard"}
    assert conditions(records[1])["quality"] == "standard"
    with pytest.raises(cli.BadInput, match="quality is fast and standard"):
        check_comparable(records)
