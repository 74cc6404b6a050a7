"""Returns that others have published on these tasks, to stand beside ours.

Means over their training seeds; five tasks of the DeepMind Control Suite with the benchmark's published colours and
videos (Hansen et al., ICLR 2021; Hansen and Wang, ICRA 2021), 500,000 decisions of training, the paper's action
repeats.
"""

SHIFTS = ("color_hard", "video_easy", "video_hard")
TASKS = ("walker_walk", "walker_stand", "cartpole_swingup", "ball_in_cup_catch", "finger_spin")
"""In the order of the figures below."""
PUBLISHED = {
    # Hansen et al. (2021), as the benchmark's authors report it.
    "PAD": {"color_hard": (468, 797, 630, 563, 803), "video_easy": (717, 935, 521, 436, 691)},
    # The best of each task among SVEA (Hansen et al., NeurIPS 2021) and those that build on it; none of them adapts.
    "best without adaptation": {
        "color_hard": (877, 942, 837, 961, 977),
        "video_easy": (918, 973, 838, 964, 983),
        "video_hard": (858, 932, 769, 902, 864),
    },
}


def published(who: str, shift: str, task: str) -> int | None:
    """A return, None where there is none."""
    row = PUBLISHED[who].get(shift)
    return row[TASKS.index(task)] if row is not None and task in TASKS else None
