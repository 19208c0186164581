from __future__ import annotations

import numpy as np
import pytest

from avsctl.rendering.overlay import (
    draw_heat,
    draw_masks,
    find_regions,
    interpolate_masks,
    readable_on,
    resize_maps,
    vivid,
)

NAMES = ["background", "dog", "lawn_mower", "man"]
COLOURS = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0], [0, 0, 128]], np.uint8)


def picture(height=180, width=240):
    return np.full((height, width, 3), 120, np.uint8)


def mask_with(height=180, width=240, **boxes):
    mask = np.zeros((height, width), np.uint8)
    for index, (top, bottom, left, right) in boxes.items():
        mask[top:bottom, left:right] = int(index[1:])
    return mask


def voc_palette(count=71):
    """The palette of segmentation data sets, bit by bit (as VOC's development kit makes it)."""
    colours = np.zeros((count, 3), np.uint8)
    for index in range(count):
        value = index
        for shift in range(7, -1, -1):
            for channel in range(3):
                colours[index, channel] |= ((value >> channel) & 1) << shift
            value >>= 3
    return colours


def test_only_the_masks_pixels_and_their_rim_change():
    rgb, mask = picture(), mask_with(c1=(60, 120, 60, 150))
    drawn = draw_masks(rgb, mask, NAMES, COLOURS, alpha=0.5, labels=False)
    assert (rgb == 120).all()
    inside = drawn[75:105, 75:135].reshape(-1, 3).astype(int)
    expected = 0.5 * 120 + 0.5 * vivid(COLOURS[1]).astype(float)
    assert np.abs(inside - expected).max() <= 2
    far = drawn.copy()
    far[57:123, 57:153] = 120
    assert (far == 120).all()
    assert (drawn[60, 100] == vivid(COLOURS[1])).all(), "no outline at the border"
    assert (drawn[59, 100] > 20).all() and (drawn[59, 100] < 60).all(), "no dark rim outside the outline"


def test_the_outline_parts_neighbouring_classes():
    mask = mask_with(c1=(40, 140, 40, 120), c2=(40, 140, 120, 200))
    drawn = draw_masks(picture(), mask, NAMES, COLOURS, labels=False)
    assert (drawn[90, 119] == vivid(COLOURS[1])).all() and (drawn[90, 120] == vivid(COLOURS[2])).all()


def test_an_empty_mask_leaves_the_picture_alone_and_alpha_zero_draws_lines_only():
    assert np.array_equal(draw_masks(picture(), np.zeros((9, 9), int), NAMES, COLOURS), picture())
    drawn = draw_masks(picture(), mask_with(c1=(60, 120, 60, 150)), NAMES, COLOURS, alpha=0, labels=False)
    assert (drawn[70:110, 70:140] == 120).all() and (drawn[60, 100] != 120).any()


def test_masks_of_another_size_are_enlarged():
    small = draw_masks(picture(), mask_with(18, 24, c2=(6, 12, 6, 15)), NAMES, COLOURS, labels=False)
    large = draw_masks(picture(), mask_with(c2=(60, 120, 60, 150)), NAMES, COLOURS, labels=False)
    assert np.array_equal(small, large)


def test_large_regions_are_named_and_small_ones_are_not():
    plain = {"labels": False}
    for box, named in [((100, 160, 60, 150), True), ((100, 108, 60, 68), False)]:
        mask = mask_with(c1=box)
        changed = draw_masks(picture(), mask, NAMES, COLOURS) != draw_masks(picture(), mask, NAMES, COLOURS, **plain)
        assert changed.any() == named
    rows = np.flatnonzero(
        (draw_masks(picture(), mask_with(c1=(100, 160, 60, 150)), NAMES, COLOURS) != picture()).any((1, 2))
    )
    assert 75 < rows[0] < 99, "the name belongs right above the region"


def test_every_separate_region_gets_a_name():
    mask = mask_with(c1=(100, 160, 10, 60), c3=(20, 60, 100, 200))
    mask[100:160, 150:200] = 1
    regions = find_regions(mask)
    assert sorted(r.index for r in regions) == [1, 1, 3]
    assert [r.area for r in regions] == sorted((r.area for r in regions), reverse=True)
    assert min(abs(r.x - 35 / 240) for r in regions) < 0.01


def test_names_at_every_border_and_in_tiny_pictures_draw_without_error():
    for size in [(1, 1), (2, 7), (12, 9), (40, 400), (400, 40)]:
        full = np.ones(size, np.uint8)
        assert draw_masks(picture(*size), full, NAMES, COLOURS).shape == (*size, 3)
    crowded = np.indices((180, 240)).sum(0) // 40 % 3 + 1
    assert draw_masks(picture(), crowded, NAMES, COLOURS).shape == (180, 240, 3)


@pytest.mark.parametrize(
    ("mask", "alpha"),
    [
        (np.full((4, 4), 4), 0.5),
        (np.full((4, 4), -1), 0.5),
        (np.zeros((4, 4, 1), int), 0.5),
        (np.full((4, 4), np.nan), 0.5),
        (np.zeros((0, 4), int), 0.5),
        (np.zeros((4, 4), int), 1.5),
    ],
)
def test_wrong_masks_are_refused(mask, alpha):
    with pytest.raises(ValueError):
        draw_masks(picture(), mask, NAMES, COLOURS, alpha)


def test_different_palette_colours_stay_different_and_text_is_readable():
    drawn = vivid(voc_palette())
    assert len(np.unique(drawn, axis=0)) == 71
    assert readable_on((255, 255, 0)) == (0, 0, 0) and readable_on((128, 0, 0)) == (255, 255, 255)


def test_heat_rises_with_the_probability_and_shows_the_half():
    ramp = np.linspace(0, 1, 240, dtype=np.float32)[None].repeat(180, 0)
    drawn = draw_heat(picture(), ramp)
    brightness = drawn[90].astype(float).mean(1)
    line = brightness == 255
    assert line.any() and abs(np.flatnonzero(line).mean() - 120) < 3
    assert (np.diff(brightness[~line]) > -6).all() and brightness[-1] > brightness[0] + 80
    as_bytes = draw_heat(picture(), np.round(ramp * 255).astype(np.uint8))
    assert np.abs(as_bytes.astype(int) - drawn).mean() < 2
    assert draw_heat(picture(), np.full((3, 3), np.nan)).shape == (180, 240, 3)


def blob(x, height=40, width=80):
    columns = np.arange(width)[None, :].repeat(height, 0)
    shape = 1 / (1 + np.exp(np.abs(columns - x) - 10))
    return np.stack([1 - shape, shape])


def test_between_key_frames_a_border_wanders_steadily():
    a, b = blob(30), blob(38)
    right = [np.flatnonzero(interpolate_masks(a, b, t, size=(320, 160))[80]).max() for t in np.linspace(0, 1, 9)]
    assert right == sorted(right) and max(np.diff(right)) <= 16
    assert right[-1] - right[0] == pytest.approx(32, abs=3)


def test_key_frames_themselves_are_reproduced():
    rng = np.random.default_rng(0)
    a, b = rng.random((5, 12, 9)), rng.random((5, 12, 9))
    assert np.array_equal(interpolate_masks(a, b, 0), a.argmax(0))
    assert np.array_equal(interpolate_masks(a, b, 1), b.argmax(0))
    mixed = interpolate_masks(a, b, 0.3, classes=[0, 70, 3, 9, 41])
    assert np.array_equal(mixed, np.array([0, 70, 3, 9, 41])[(0.7 * a + 0.3 * b).argmax(0)])


def test_maps_are_resized_as_torch_does_it():
    torch = pytest.importorskip("torch")
    maps = np.random.default_rng(0).random((3, 7, 11)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[None], size=(21, 44), mode="bilinear", align_corners=False
    )[0]
    assert np.allclose(resize_maps(maps, 44, 21), expected, atol=1e-5)


def test_unlike_maps_are_refused():
    a = np.zeros((2, 4, 4))
    for wrong in [(a, np.zeros((3, 4, 4)), 0.5), (a, a, 1.5), (a[0], a[0], 0.5)]:
        with pytest.raises(ValueError):
            interpolate_masks(*wrong)
    with pytest.raises(ValueError):
        interpolate_masks(a, a, 0.5, classes=[0, 300])
