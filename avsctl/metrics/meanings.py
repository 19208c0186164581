"""The name of every score and what it says; reports, tables and documentation take their words from here."""

from __future__ import annotations

# Clips in one call of the published test scripts, on which their F-score depends.
LEGACY_BATCHES = {2: "AVSegFormer", 4: "AVSBench", 8: "COMBO"}

_LEGACY_CALLS = {
    f"{name}_legacy_batch{size}": f"{what}, as {who} tests: calls of {size} clips in dataset order"
    for size, who in LEGACY_BATCHES.items()
    for name, what in (("f_score", "F with one threshold per call"), ("miou", "miou averaged over calls"))
}

BINARY_MEANINGS = {
    "clips": "number of clips scored",
    "frames": "number of labelled frames scored",
    "miou": "IoU of sounding pixels per frame, mean over a clip's frames, then over clips; a frame without "
    "sounding pixels scores its share of correctly empty pixels (AVSBench; clip by clip as Stepping Stones)",
    "miou_frames": "that IoU, mean over all frames at once: differs from miou where clips differ in length",
    "f_score": "F (beta^2 = 0.3) on the sounding probability at the best of 255 thresholds of each clip, "
    "mean over clips; empty frames are left out, a clip without sounding pixels scores 0 (AVSBench, one "
    "clip a call)",
    "f_score_dataset": "that F with one threshold for the whole set",
    **_LEGACY_CALLS,
    "f_score_stepping_stones": "f_score on sigmoid(2 * l1 - l0) of the two class maps, not on the "
    "probability (Stepping Stones)",
    "dataset_iou": "sounding pixels of the whole set pooled: intersection over union (dataset-level J)",
    "dataset_f_score": "F (beta^2 = 0.3) of the decided masks, the whole set pooled (dataset-level F)",
    "marked_share": "share of pixels marked as sounding, mean over frames: on replaced sound the false "
    "positive rate of AVSBench-Robust",
}

SEMANTIC_MEANINGS = {
    "classes_seen": "number of classes, background included, that are predicted or present anywhere",
    "miou": "IoU per frame and class, mean over the frames where the class is predicted or present, then "
    "over all classes with background, classes never seen as 0 (AVSBench, AVSegFormer, Stepping Stones)",
    "miou_foreground": "miou without the background (Stepping Stones' no-background score)",
    "miou_present": "miou over the classes seen in this set only",
    "miou_foreground_present": "miou over the classes seen in this set, without the background",
    "miou_legacy": "miou without the last class where the background was meant, on unpadded clips: the slip "
    "[:-1] of AVSBench, AVSegFormer, COMBO and others",
    "miou_padded": "miou, short clips padded to 10 frames by empty ones that score 1 (AVSBench, AVSegFormer)",
    "miou_padded_legacy": "miou padded and without the last class: what AVSegFormer prints as no-background",
    "f_score": "F (beta^2 = 0.3) per frame and class, averaged as miou",
    "f_score_foreground": "f_score without the background",
    "f_score_present": "f_score over the classes seen in this set only",
    "f_score_foreground_present": "f_score over the classes seen in this set, without the background",
    "f_score_legacy": "f_score without the last class where the background was meant",
    "f_score_padded": "f_score with short clips padded to 10 frames, as miou_padded",
    "f_score_padded_legacy": "f_score as miou_padded_legacy",
    "miou_frame_hits": "mean IoU of a frame over the classes it hits at all (IoU above 0), mean over frames: "
    "AVSBench's list of frame scores, where wrong classes cost nothing",
    "dataset_miou": "IoU per class from one confusion matrix of the whole set, mean over the classes seen, "
    "with background (CAVP, CPM, DDESeg)",
    "dataset_miou_foreground": "dataset_miou without the background",
    "dataset_f_score": "F (beta^2 = 0.3) per class from that confusion matrix, mean over the classes seen",
    "dataset_f_score_foreground": "dataset_f_score without the background",
    "pixel_accuracy": "share of labelled pixels given their class, whole set pooled",
}

# Semantic masks are scored as sounding masks too, every class counting as sounding: binary names with avs_. They have
# no probability, so that the thresholds of F leave two choices: the decided mask, or everything marked.
_OF_DECIDED_MASKS = {
    "f_score": "F (beta^2 = 0.3) of the decided mask, or of marking everything where that is better, clip by clip, "
    "mean over clips; empty frames and clips count as in the task avs",
    "f_score_dataset": "that F with one choice for the whole set",
    **{
        f"f_score_legacy_batch{size}": f"that F with one choice per call of {size} clips, as {who} tests"
        for size, who in LEGACY_BATCHES.items()
    },
}
_SCORED_AS_AVS = {
    f"avs_{name}": f"all classes as sounding: {_OF_DECIDED_MASKS.get(name, meaning)}"
    for name, meaning in BINARY_MEANINGS.items()
    if name not in ("clips", "frames", "f_score_stepping_stones")
}

MEANINGS = {
    "binary": BINARY_MEANINGS,
    "semantic": {
        "clips": BINARY_MEANINGS["clips"],
        "frames": BINARY_MEANINGS["frames"],
        **SEMANTIC_MEANINGS,
        **_SCORED_AS_AVS,
    },
}
