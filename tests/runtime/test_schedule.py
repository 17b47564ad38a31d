import pytest

from ranspec.runtime.schedule import exponential_schedule, step_schedule


def test_a_step_schedule_drops_at_the_given_step() -> None:
    rates = [step_schedule(step, 1.0, 0.5, (2, 4)) for step in range(6)]
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_an_exponential_schedule_drops_at_every_multiple() -> None:
    rates = [exponential_schedule(step, 0.1, 0.94, 2) for step in range(5)]
    assert rates == pytest.approx([0.1, 0.1, 0.094, 0.094, 0.08836])
