import hashlib
from typing import Any

import numpy as np
import pytest
import scipy.stats

from ranspec.runtime.sampling import (
    affine_maps,
    batch_indices,
    beta_quantiles,
    color_shares,
    crop_and_flip,
    crop_boxes,
    cutmix_boxes,
    cutmix_shares,
    held_out,
    mixup_shares,
    noisy_labels,
    step_seed,
    ten_crop_maps,
)


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


def corners(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return where maps take the outer corners of the corner pixels, (batch, 4, 2)."""
    rows, columns = (-0.5, height - 0.5), (-0.5, width - 0.5)
    outer = np.array([(row, column, 1) for row in rows for column in columns])
    return np.einsum("nij,kj->nki", maps / 2**16, outer)


def test_a_map_without_changes_takes_each_pixel_to_itself() -> None:
    assert (affine_maps(0, 0, 3, 8, 6) == 2**16 * np.eye(2, 3)).all()


def test_a_flip_reverses_the_columns_of_about_half_the_images() -> None:
    maps = affine_maps(0, 0, 1000, 8, 6, flip=True) / 2**16
    flipped = maps[:, 1, 1] < 0
    assert 0.4 < flipped.mean() < 0.6
    assert (maps[flipped][:, 1] @ (0, 0, 1) == 5).all()
    assert (maps[:, 0] == (1, 0, 0)).all()


def test_crops_lie_within_the_image_and_have_the_area_and_ratio_asked_for() -> None:
    maps = affine_maps(0, 0, 2000, 40, 60, area=(0.08, 1.0), ratio=(0.75, 1.333), flip=True)
    reached = corners(maps, 40, 60)
    assert reached.min() > -0.51
    assert (reached.max(axis=(0, 1)) < (39.51, 59.51)).all()
    heights, widths = maps[:, 0, 0] / 2**16, abs(maps[:, 1, 1]) / 2**16
    assert (heights * widths).min() > 0.079
    assert (heights * widths).max() < 1.001
    assert 0.4 < (heights * widths).mean() < 0.6
    whole = (heights == 1) & (widths == 1)
    ratios = (widths / heights)[~whole]
    assert ratios.min() > 0.749
    assert ratios.max() < 1.334
    assert 0.4 < (ratios > 1).mean() < 0.6


def test_a_crop_that_cannot_fit_is_the_whole_image() -> None:
    maps = affine_maps(0, 0, 5, 8, 6, area=(1.0, 1.0), ratio=(2.0, 3.0))
    assert (maps == 2**16 * np.eye(2, 3)).all()


def test_a_rotation_keeps_distances_and_the_centre() -> None:
    maps = affine_maps(0, 0, 1000, 9, 7, rotation=20) / 2**16
    assert np.allclose(np.linalg.det(maps[:, :, :2]), 1, atol=1e-4)
    assert np.allclose(maps @ (4, 3, 1), (4, 3), atol=1e-3)
    angles = np.degrees(np.arctan2(maps[:, 1, 0], maps[:, 0, 0]))
    assert 19 < angles.max() < 20.01
    assert -20.01 < angles.min() < -19


def test_shifts_zooms_and_shears_reach_their_limits() -> None:
    shifted = affine_maps(0, 0, 1000, 40, 60, shift=0.1)[:, :, 2] / 2**16
    assert np.allclose(abs(shifted).max(axis=0), (4, 6), rtol=0.01)
    zoomed = affine_maps(0, 0, 1000, 40, 60, zoom=0.1) / 2**16
    assert np.allclose([zoomed[:, 0, 0].min(), zoomed[:, 1, 1].max()], (0.9, 1.1), rtol=0.001)
    sheared = affine_maps(0, 0, 1000, 40, 60, shear=0.1) / 2**16
    assert (sheared[:, 0] == (1, 0, 0)).all()
    assert np.allclose(abs(sheared[:, 1, 0]).max(), 0.1, rtol=0.01)


def test_color_shares_are_normal_and_their_own_for_each_image() -> None:
    shares = color_shares(0, 3, 20_000, 3, 0.1)
    assert shares.dtype == np.float32
    assert np.allclose(shares.mean(axis=0), 0, atol=0.003)
    assert np.allclose(np.cov(shares.T), 0.01 * np.eye(3), atol=0.0003)
    assert np.allclose((abs(shares) < 0.1).mean(), 0.683, atol=0.01)


def test_samples_held_out_are_different_ones_of_every_seed() -> None:
    chosen = held_out(0, 400, 1000)
    assert len(set(chosen.tolist())) == 400
    assert (np.diff(chosen) > 0).all()
    assert not np.array_equal(chosen, held_out(1, 400, 1000))


SIZES = np.array([[375, 500], [500, 333], [64, 64], [4, 300]]).repeat(500, axis=0)
CROPS: dict[str, Any] = {"aspect": 1.0, "area": (0.08, 1.0), "ratio": (0.75, 4 / 3)}


def test_boxes_lie_in_the_whole_image_and_have_the_area_and_ratio_asked_for() -> None:
    boxes = crop_boxes(0, 0, SIZES, **CROPS)
    assert boxes.dtype == np.int32
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= SIZES[:, ::-1]).all()
    widths, heights = (boxes[:, 2:] - boxes[:, :2]).T
    assert min(widths.min(), heights.min()) >= 1
    photographs = slice(0, 1000)
    areas = (widths * heights / SIZES.prod(axis=1))[photographs]
    assert 0.075 < areas.min() < 0.1
    assert 0.4 < areas.mean() < 0.6
    ratios = (widths / heights)[photographs]
    assert ratios.min() > 0.74
    assert ratios.max() < 1.35
    assert 0.4 < (ratios > 1).mean() < 0.6


def test_a_box_that_cannot_fit_is_the_largest_of_the_networks_aspect() -> None:
    boxes = crop_boxes(0, 0, np.array([[4, 300]] * 50), aspect=2.0, area=(0.9, 1), ratio=(1, 1))
    assert (boxes[:, 2] - boxes[:, 0] == 8).all()
    assert (boxes[:, [1, 3]] == (0, 4)).all()
    assert len(set(boxes[:, 0].tolist())) > 40


@pytest.mark.parametrize("concentration", [0.1, 0.2, 1.0, 2.0, 16.0])
def test_shares_of_mixup_follow_the_beta_distribution(concentration: float) -> None:
    shares = mixup_shares(0, 3, 50_000, concentration)
    assert shares.dtype == np.float32
    assert (shares * 2**10 % 1 == 0).all()
    probabilities = np.arange(0.05, 1, 0.05)
    expected = scipy.stats.beta(concentration, concentration).ppf(probabilities)
    assert np.abs(np.quantile(shares, probabilities) - expected).max() < 0.02


def test_the_beta_distribution_has_the_same_thresholds_everywhere() -> None:
    """Thresholds are those of SciPy to a double's precision, and are pinned to the last bit."""
    for concentration in (0.2, 1.0, 7.5, 16.0):
        points = (np.arange(2**10) + 0.5) / 2**10
        expected = scipy.stats.beta(concentration, concentration).cdf(points)
        assert np.allclose(beta_quantiles(concentration) / 2.0**64, expected, rtol=0, atol=1e-14)
    pinned = hashlib.sha256(beta_quantiles(0.4).astype("<u8").tobytes()).hexdigest()
    assert pinned == "5ad3d5763a709637468f847965108e306f9d0a38b2cfa68838e662eccce6fec0"
    with pytest.raises(ValueError, match=r"concentration 0, expected above 0, at most 16"):
        beta_quantiles(0)


def test_cutmix_boxes_lie_in_the_image_and_leave_the_share_that_is_told() -> None:
    boxes = cutmix_boxes(0, 0, 5000, 32, 48, 1.0)
    assert boxes.dtype == np.int32
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= (32, 48)).all()
    assert (boxes[:, :2] <= boxes[:, 2:]).all()
    inside = (boxes[:, 0] > 0) & (boxes[:, 1] > 0) & (boxes[:, 2] < 32) & (boxes[:, 3] < 48)
    heights, widths = (boxes[inside, 2:] - boxes[inside, :2]).T
    assert (np.abs(heights * 48 - widths * 32) <= 48).all()
    shares = cutmix_shares(boxes, 32, 48)
    for box, share in zip(boxes[:50], shares, strict=False):
        kept = np.ones((32, 48))
        kept[box[0] : box[2], box[1] : box[3]] = 0
        assert np.isclose(share, kept.mean(), atol=1e-7)


def test_ten_crops_are_the_corners_and_the_centre_and_their_mirror_images() -> None:
    image = np.arange(8 * 10).reshape(8, 10)
    maps = ten_crop_maps(8, 10, 4, 6, 4, 6)
    assert maps.shape == (10, 2, 3)
    grid = np.stack([*np.meshgrid(np.arange(4), np.arange(6), indexing="ij"), np.ones((4, 6))])
    rows, columns = np.moveaxis(np.einsum("nij,jhw->nihw", maps, grid) / 2**16, 1, 0)
    views = image[rows.astype(int), columns.astype(int)]
    corners = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    crops = [image[top : top + 4, left : left + 6] for top, left in corners]
    assert np.array_equal(views, crops + [crop[:, ::-1] for crop in crops])


def test_ten_crops_are_resized_to_the_networks_input() -> None:
    outer = corners(ten_crop_maps(64, 64, 56, 56, 64, 64), 64, 64)
    low, high = outer.min(axis=1), outer.max(axis=1)
    assert np.allclose(high - low, 56, atol=0.01)
    assert np.allclose(low[:5] + 0.5, [(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)], atol=0.01)
    assert np.allclose(low[5:], low[:5], atol=0.01)
    with pytest.raises(ValueError, match="crops of 65 x 56 of an image of 64 x 64"):
        ten_crop_maps(64, 64, 65, 56, 64, 64)
