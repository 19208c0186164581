"""What the arrays of a score must look like; a failure is a ValueError that names the array and the value."""

from __future__ import annotations

import numpy as np


def check_same_frames(pred: np.ndarray, target: np.ndarray, what: str = "prediction") -> None:
    """Check that both arrays are (T, H, W) with T, H, W > 0 and of one shape.

    Raises: ValueError: If they are not.
    """
    if pred.shape != target.shape:
        raise ValueError(f"the {what} has shape {pred.shape}, the target {target.shape}")
    if pred.ndim != 3 or pred.size == 0:
        raise ValueError(f"the {what} must be (frames, height, width), none of them 0, not {pred.shape}")


def as_mask(values: np.ndarray, what: str) -> np.ndarray:
    """Turn an array of 0 and 1 into booleans.

    Raises: ValueError: If it holds anything but 0 and 1.
    """
    values = np.asarray(values)
    if values.dtype == bool or _is_whole_mask(values):
        return values.astype(bool, copy=False)
    mask = values == 1
    if not np.logical_or(mask, values == 0).all():
        raise ValueError(f"the {what} must hold only 0 and 1; it goes from {values.min()} to {values.max()}")
    return mask


def as_target(values: np.ndarray) -> np.ndarray:
    """Turn a target into booleans where it holds only 0 and 1, else into float32.

    Raises: ValueError: If a value is NaN or outside [0, 1].
    """
    values = np.asarray(values)
    if values.dtype == bool or _is_whole_mask(values):
        return values.astype(bool, copy=False)
    values = as_unit_floats(values, "target")
    mask = values == 1
    return mask if np.logical_or(mask, values == 0).all() else values


def _is_whole_mask(values: np.ndarray) -> bool:
    """Whether an array of integers holds only 0 and 1, at two passes over it."""
    return values.dtype.kind in "iu" and values.size > 0 and values.min() >= 0 and values.max() <= 1


def as_unit_floats(values: np.ndarray, what: str) -> np.ndarray:
    """Turn an array of numbers in [0, 1] into float32.

    Raises: ValueError: If a value is NaN or outside [0, 1].
    """
    values = np.asarray(values)
    low, high = (values.min(), values.max()) if values.size else (0, 0)  # either is NaN if any value is
    if not (low >= 0 and high <= 1):
        raise ValueError(f"the {what} must lie in [0, 1]; it goes from {low} to {high}")
    return values.astype(np.float32, copy=False)


def as_labels(values: np.ndarray, what: str) -> np.ndarray:
    """Check that an array holds whole numbers; class indices kept as floats, NaN among them, are refused.

    Raises: ValueError: If the array is not of an integer type.
    """
    values = np.asarray(values)
    if values.dtype.kind not in "iu":
        raise ValueError(f"the {what} must hold class indices as integers, not {values.dtype}")
    return values


def as_class_indices(values: np.ndarray, num_classes: int, what: str) -> np.ndarray:
    """Check that an array holds class indices in [0, num_classes).

    Raises: ValueError: If it holds anything else.
    """
    values = as_labels(values, what)
    if values.size and (values.min() < 0 or values.max() >= num_classes):
        wrong = values.min() if values.min() < 0 else values.max()
        raise ValueError(f"the {what} holds class {wrong}, but the classes are 0 to {num_classes - 1}")
    return values
