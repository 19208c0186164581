"""What a stage takes from the workspace, checked against the data it is to be used on."""

from __future__ import annotations

from pathlib import Path

import torch

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.header import check_made_from
from avsctl.caches.priors import PriorCache
from avsctl.data.samples import PriorSource
from avsctl.errors import AvsctlError
from avsctl.workspace import Run, Workspace
from avsctl_models import SegmentationModel, load_model


def load_checkpoint(path: Path, task: str, device: torch.device | str = "cpu") -> SegmentationModel:
    """Load a whole model in eval mode: one that training wrote, or a released checkpoint as it is.

    Args:
        path: A file, or a folder in Hugging Face's format. A released checkpoint has the published sizes, or those
            of the JSON beside it.
    Raises: AvsctlError: If the file is missing, is no model, is one of the other task, or hears nothing.
    """
    if not path.exists():
        raise AvsctlError(f"No checkpoint at {path}. Make one with 'avsctl train-{task}'.")
    try:
        model = load_model(path, device)
    except ValueError as error:
        raise AvsctlError(
            f"{error}. Give a model.safetensors that 'avsctl train-{task}' wrote, or a released checkpoint."
        ) from None
    if model.audio_dim is None:
        raise AvsctlError(f"{path} hears nothing: it can start a training, 'avsctl train-{task} --init-from {path}'.")
    if model.spec["task"] != task:
        raise AvsctlError(f"{path} is a model of task {model.spec['task']}, not {task}. Give one of the task {task}.")
    return model


def load_run(run: Run, clips: ClipCache, audio: AudioCache, device: torch.device | str = "cpu") -> SegmentationModel:
    """Load a run's best model for use on these caches.

    Of a checkpoint without a record only the number of classes and the width of the sound can be compared.

    Raises: AvsctlError: If the classes or the sound are not those it was trained on.
    """
    model = load_checkpoint(run.weights, run.task, device)
    known = run.record["classes"] or [None] * model.num_classes
    if run.task == "avss" and (len(known) != len(clips.classes) or known not in (clips.classes, [None] * len(known))):
        raise AvsctlError(
            f"{run.folder} knows {len(known)} classes, which are not the {len(clips.classes)} of "
            f"{clips.path}. Choose another --run, or train one on these clips with 'avsctl train-avss'."
        )
    heard = run.record["data"]["encoder"] or audio.encoder
    if (heard, model.audio_dim) != (audio.encoder, audio.dim):
        raise AvsctlError(
            f"{run.folder} hears {heard} ({model.audio_dim} numbers), but {audio.path} holds "
            f"{audio.encoder} ({audio.dim}). Run 'avsctl extract-audio --encoder {heard} --overwrite'."
        )
    return model


def find_prior(workspace: Workspace, name: str, form: str, clips: ClipCache) -> PriorSource:
    """A prior by its name in the workspace, its file, or the rule `oracle` or `empty`.

    Raises: AvsctlError: If its cache is missing or belongs to other clips.
    """
    if name in ("oracle", "empty"):
        return PriorSource(name)
    path = Path(name) if name.endswith(".h5") else workspace.prior(name)
    if not path.exists() and name in ("low", "high"):
        raise AvsctlError(f"No prior at {path}. Run 'avsctl predict-priors --level {name}' first.")
    cache = PriorCache(path)
    check_made_from(path, cache.header["inputs"], "clips", clips.fingerprint)
    return PriorSource(cache, form)
