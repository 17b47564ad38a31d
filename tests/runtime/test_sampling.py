import numpy as np
import pytest

from ranspec.runtime.sampling import batch_indices, crop_and_flip, noisy_labels, step_seed


def test_an_epoch_visits_every_sample_of_its_whole_batches_once() -> None:
    epoch = np.concatenate([batch_indices(3, step, 4, 18) for step in range(4)])
    assert len(set(epoch.tolist())) == 16
    assert epoch.dtype == np.int64


def test_order_differs_between_epochs_and_seeds() -> None:
    first = batch_indices(0, 0, 100, 100)
    assert not np.array_equal(first, batch_indices(0, 1, 100, 100))
    assert not np.array_equal(first, batch_indices(1, 0, 100, 100))


def test_draws_depend_on_seed_and_step_alone() -> None:
    once = batch_indices(7, 1000, 8, 50).tolist()
    batch_indices(7, 3, 8, 50)
    assert batch_indices(7, 1000, 8, 50).tolist() == once
    offsets, flips = crop_and_flip(7, 5, 8, 4, True)
    again, flips_again = crop_and_flip(7, 5, 8, 4, True)
    assert np.array_equal(offsets, again)
    assert np.array_equal(flips, flips_again)


def test_draws_are_the_ones_of_earlier_versions() -> None:
    assert batch_indices(0, 0, 5, 10).tolist() == [0, 8, 6, 9, 5]
    assert crop_and_flip(0, 0, 2, 4, True)[0].tolist() == [[1, 2], [0, 7]]


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match="batch size 11 for 10 samples"):
        batch_indices(0, 0, 11, 10)


def test_offsets_and_flips_cover_their_range() -> None:
    offsets, flips = crop_and_flip(0, 0, 2000, 2, True)
    assert set(offsets.reshape(-1).tolist()) == {0, 1, 2, 3, 4}
    assert 0.4 < flips.mean() < 0.6
    assert not crop_and_flip(0, 0, 2000, 2, False)[1].any()


def test_noisy_labels_keep_the_clean_share_and_spread_the_rest() -> None:
    labels = np.zeros(20_000, dtype=np.int64)
    noisy = noisy_labels(0, labels, 5, 0.7)
    shares = np.bincount(noisy, minlength=5) / len(labels)
    assert np.allclose(shares, [0.7, 0.075, 0.075, 0.075, 0.075], atol=0.01)
    assert np.array_equal(noisy_labels(0, labels, 5, 1.0), labels)


def test_step_seeds_differ_by_step() -> None:
    seeds = {step_seed(0, step) for step in range(100)}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**31 for seed in seeds)
