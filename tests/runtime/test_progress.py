from dataclasses import asdict

from ranspec.runtime.progress import Progress, advance, recorded
from ranspec.runtime.schedule import plateau_schedule


def after(accuracies: list[float], patience: int | None = None) -> Progress:
    progress = Progress()
    for epoch, accuracy in enumerate(accuracies, start=1):
        progress = advance(progress, step=10 * epoch, accuracy=accuracy, patience=patience)
    return progress


def test_a_higher_accuracy_is_the_best_and_an_equal_one_is_not() -> None:
    progress = after([0.0, 0.5, 0.4, 0.5])
    assert (progress.best_accuracy, progress.best_step, progress.stale) == (0.5, 20, 2)


def test_the_rate_is_reduced_after_each_run_of_epochs_without_a_better_one() -> None:
    flat = [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]
    assert [after(flat[:count], 2).reductions for count in range(1, 7)] == [0, 0, 1, 1, 2, 2]
    assert after(flat).reductions == 0


def test_an_improvement_starts_the_wait_anew_and_keeps_the_reductions() -> None:
    progress = after([0.5, 0.1, 0.1, 0.6, 0.1], 2)
    assert (progress.reductions, progress.waited, progress.stale) == (1, 1, 1)


def test_a_checkpoint_without_a_state_is_that_of_a_new_run() -> None:
    progress = after([0.5, 0.1], 2)
    assert recorded(asdict(progress)) == progress
    assert recorded(None) == Progress()


def test_a_plateau_schedule_goes_down_to_its_least_rate() -> None:
    rates = [plateau_schedule(count, 1e-4, 0.2, 1e-6) for count in range(4)]
    assert rates == [1e-4, 0.2 * 1e-4, 1e-4 * 0.2**2, 1e-6]
