import pytest

from ranspec.runtime.schedule import (
    cosine_schedule,
    exponential_schedule,
    linear_warmup,
    plateau_schedule,
    step_schedule,
)


def test_a_step_schedule_drops_at_the_given_step() -> None:
    rates = [step_schedule(step, 1.0, 0.5, (2, 4)) for step in range(6)]
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_an_exponential_schedule_drops_at_every_multiple() -> None:
    rates = [exponential_schedule(step, 0.1, 0.94, 2) for step in range(5)]
    assert rates == pytest.approx([0.1, 0.1, 0.094, 0.094, 0.08836])


def test_a_cosine_schedule_falls_from_the_initial_rate_to_the_least() -> None:
    rates = [cosine_schedule(step, 1.0, 0.2, 3, 7) for step in range(3, 8)]
    assert rates == pytest.approx([1.0, 0.6 + 0.4 * 0.5**0.5, 0.6, 0.6 - 0.4 * 0.5**0.5, 0.2])
    assert rates[0] == 1.0
    assert cosine_schedule(9, 1.0, 0.2, 3, 7) == 0.2


def test_a_cosine_schedule_is_that_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30, eta_min=1e-3)
    for step in range(30):
        assert cosine_schedule(step, 0.1, 1e-3, 0, 30) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_a_plateau_lowers_the_rate_by_reductions_to_the_least() -> None:
    rates = [plateau_schedule(reductions, 1.0, 0.1, 0.05) for reductions in range(4)]
    assert rates == pytest.approx([1.0, 0.1, 0.05, 0.05])


def test_a_linear_warmup_goes_to_the_initial_rate_in_equal_steps() -> None:
    rates = [linear_warmup(step, 0.1, 0.5, 4) for step in range(5)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert rates[0] == 0.1
