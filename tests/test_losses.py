"""Each loss against the equation written out with numbers."""

import math

import pytest
import torch

from pad import losses


def test_the_target_bootstraps_past_a_time_limit_and_stops_at_a_terminal_state():
    target = losses.soft_target(
        reward=torch.tensor([1.0, 1.0]),
        terminated=torch.tensor([False, True]),
        next_q1=torch.tensor([10.0, 10.0]),
        next_q2=torch.tensor([8.0, 12.0]),
        next_log_prob=torch.tensor([2.0, 2.0]),
        temperature=torch.tensor(0.5),
        discount=0.9,
    )
    assert target.tolist() == pytest.approx([1 + 0.9 * (8 - 0.5 * 2), 1.0])


def test_the_critic_loss_is_the_sum_of_both_squared_errors():
    loss = losses.critic_loss(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0]), torch.tensor([2.0, 4.0]))
    assert loss.item() == pytest.approx((1 + 4) / 2 + (4 + 16) / 2)


def test_the_actor_takes_the_smaller_q_and_pays_for_certainty():
    loss = losses.actor_loss(torch.tensor([3.0]), torch.tensor([5.0]), torch.tensor([-1.0]), torch.tensor(0.1))
    assert loss.item() == pytest.approx(-0.1 - 3)


@pytest.mark.parametrize(("log_prob", "rises"), [(5.0, True), (-5.0, False)])
def test_the_temperature_rises_while_entropy_is_below_its_target(log_prob, rises):
    log_alpha = torch.tensor(math.log(0.1), requires_grad=True)
    losses.temperature_loss(log_alpha, torch.tensor([log_prob]), target_entropy=-2.0).backward()
    assert (log_alpha.grad < 0) == rises


def test_inverse_dynamics_and_cloning_average_over_batch_and_action():
    predicted, action = torch.tensor([[0.0, 1.0], [0.5, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    assert losses.inverse_dynamics_loss(predicted, action).item() == pytest.approx(1.25 / 4)
    assert losses.cloning_loss(predicted, action).item() == pytest.approx(1.25 / 4)


def test_regret_is_what_actions_lose_as_a_share_of_what_random_ones_lose():
    expert, at_random = torch.tensor([10.0, 20.0]), torch.tensor([6.0, 12.0])
    value = torch.tensor([9.0, 20.5], requires_grad=True)
    loss = losses.regret_loss(value, expert, at_random)
    assert loss.item() == pytest.approx((1 - 0.5) / 2 / 6)
    loss.backward()
    assert value.grad.tolist() == pytest.approx([-1 / 12, -1 / 12])
    assert losses.regret_loss(expert, expert, expert).item() == 0  # where nothing matters, nothing is lost


def test_a_column_against_a_row_is_refused():
    # The broadcast that passes every other test: (batch, 1) against (batch,).
    with pytest.raises(Exception, match="type"):
        losses.critic_loss(torch.zeros(4, 1), torch.zeros(4), torch.zeros(4))
