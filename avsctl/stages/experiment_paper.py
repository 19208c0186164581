"""The numbers that the paper prints, in percent as (mIoU, F); None where we don't know them.

Source: Stepping Stones (ECCV 2024), measured on AVSBench with pretrained weights. S4 and MS3 of the two other models
are those of their own papers, with the backbone PVT-v2 at 224 pixels, as later work quotes them.
"""

from __future__ import annotations

Number = tuple[float | None, float | None]

NOTHING: Number = (None, None)

TABLE1: dict[tuple[str, str], Number] = {
    ("tpavi", "S4"): (78.7, 87.9),
    ("tpavi", "MS3"): (54.0, 64.5),
    ("tpavi", "AVSS"): (29.8, 35.2),
    ("avsegformer", "S4"): (82.1, 89.9),
    ("avsegformer", "MS3"): (58.4, 69.3),
    ("avsegformer", "AVSS"): (36.7, 42.0),
    ("aavs", "S4"): (83.2, 91.3),
    ("aavs", "MS3"): (67.3, 77.6),
    ("aavs", "AVSS"): (48.5, 53.2),
}

TABLE2: dict[tuple[str, str], Number] = {
    ("tpavi", "alone"): (29.8, 35.2),
    ("tpavi", "low"): (27.3, 29.9),
    ("tpavi", "high"): (31.5, 34.9),
    ("tpavi", "oracle"): (36.4, 39.0),
    ("avsegformer", "alone"): (36.7, 42.0),
    ("avsegformer", "low"): (35.4, 39.0),
    ("avsegformer", "high"): (39.4, 42.5),
    ("avsegformer", "oracle"): (46.3, 48.0),
    # Not in that table, but elsewhere in the paper.
    ("aavs", "alone"): (37.1, 41.7),
    ("aavs", "oracle"): (64.9, 67.0),
}

TABLE3: dict[tuple[str, str], Number] = {("adaptive", "MS3"): (67.5, None)}

TABLE4: dict[tuple[str, str], Number] = {
    ("full", "predicted"): (48.5, 53.2),
    ("full", "oracle"): (64.9, 67.0),
    ("w/o robust keys", "predicted"): (46.4, None),
    ("w/o robust keys", "oracle"): (60.2, None),
    ("w/o mask fusion", "predicted"): (45.2, None),
    ("w/o mask fusion", "oracle"): (54.8, None),
    ("w/o both", "predicted"): (43.4, None),
    ("w/o both", "oracle"): (51.2, None),
}

ALIGNMENT: dict[tuple[str, str], Number] = {
    ("stage 1", "s4"): (83.2, None),
    ("stage 1", "ms3"): (67.5, None),
    ("stage 1", "v2"): (72.8, None),
}
