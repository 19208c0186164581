"""One audio embedding per frame: clips.h5 in, audio.h5 out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from avsctl.caches.audio import AudioCache, assemble_audio
from avsctl.caches.clips import ClipCache
from avsctl.caches.files import hash_of, hash_of_file
from avsctl.caches.integrity import find_damage, mended
from avsctl.caches.locks import sole_writer
from avsctl.caches.shards import Shards, making, remove_leftovers
from avsctl.caches.shares import Share
from avsctl.caches.space import check_space
from avsctl.data.media import decode_sound
from avsctl.data.workers import spread
from avsctl.errors import AvsctlError
from avsctl.progress import Track, silent
from avsctl_models.audio.encoders import ENCODERS, AudioEncoder, encoder

CLIPS_PER_SHARD = 16
DIMENSIONS = {"vggish": 128, "logmel": 128, "yamnet": 1024}


def extract_audio(
    clips: Path,
    out: Path,
    *,
    encoder_name: str = "logmel",
    weights: Path | None = None,
    pca: Path | None = None,
    share: Share | None = None,
    overwrite: bool = False,
    repair: bool = False,
    workers: int | None = None,
    track: Track = silent,
) -> Path:
    """Embed the sound of every clip.

    Args:
        clips: `clips.h5`; out: the audio cache to write.
        encoder_name: `vggish`, `logmel` or `yamnet`; weights: its file, None for logmel.
        pca: VGGish's PCA parameters, for embeddings as torch.hub's VGGish gives them (after the ReLU, whole numbers
            in 0 to 255); the cache's encoder is then `vggish-pca`. No released AVS model uses it.
        share: only this share of the clips, into a file of its own beside `out`, for `merge_caches`. Where there is
            no `clips` yet, it takes the share's own file, which `prepare` made.
        repair: check every clip of `out` and embed only those again whose numbers are not what was written.
        workers: processes, None for one per core. A rerun goes on where the last one stopped.
    Returns: `out`, or the share's file.
    Raises: AvsctlError: If the sound or the weights can't be read, or `out` holds something else.
    """
    cache, numbers = _clips(clips, share)
    check_encoder(encoder_name, weights)
    if pca is not None:
        _load_pca(encoder_name, pca)  # refuses what doesn't fit before any work is done
    made = encoder_name if pca is None else f"{encoder_name}-pca"
    # A share is made from its own clips alone, be they in a file of their own or merged already.
    source = cache.fingerprint if share is None else hash_of(*cache.hashes[numbers.start : numbers.stop])
    plan = {"clips": source, "encoder": made, "weights": _hash_file(weights), "pca": _hash_file(pca)}
    if share is not None:
        out, plan = share.path(out), {**plan, "shard": str(share)}
    found = find_damage(lambda: AudioCache(out, damaged=True), track) if repair and out.exists() else None
    if found is not None:
        kept, damaged = found
        _check_same(kept, plan)
        return _mend(kept, damaged, cache, numbers, (encoder_name, weights, pca)) if damaged else out
    if out.exists() and not (overwrite or repair):
        _check_same(AudioCache(out), plan)
        remove_leftovers(out)
        return out
    frames = cache.first_frame[numbers.stop] - cache.first_frame[numbers.start]
    item_bytes = 4 * DIMENSIONS[encoder_name] * int(frames) / len(numbers)
    with making(out, plan, len(numbers), CLIPS_PER_SHARD, item_bytes=item_bytes) as shards:
        missing = shards.missing()
        job = _Embedding(cache, numbers, encoder_name, weights, pca, shards)
        for _ in track(spread(job, missing, workers), "sound", len(missing)):
            pass
        return assemble_audio(
            out,
            shards.read,
            uids=cache.uids[numbers.start : numbers.stop],
            encoder=made,
            inputs={"clips": source},
            options=plan,
        )


def _clips(path: Path, share: Share | None) -> tuple[ClipCache, range]:
    """The cache that holds the clips to embed, and which of its clips they are."""
    if share is not None and not path.exists():
        cache = ClipCache(share.path(path))
        return cache, range(len(cache))
    cache = ClipCache(path)
    return cache, range(len(cache)) if share is None else share.cut(np.diff(cache.first_frame).tolist())


def _mend(
    kept: AudioCache,
    damaged: Sequence[int],
    clips: ClipCache,
    numbers: range,
    tools: tuple[str, Path | None, Path | None],
) -> Path:
    """Write an audio cache again with the sound of its `damaged` clips embedded anew."""
    encode, post = _tools(*tools)
    for place in damaged:
        if not clips.verify(numbers[place]):
            raise AvsctlError(
                f"Clip {kept.uids[place]} is damaged in {clips.path}. Run 'avsctl prepare' with --repair first."
            )
    again = {place: {"embedding": post(embed_clip(encode, clips, numbers[place]))} for place in damaged}
    with sole_writer(kept.path):
        check_space(kept.path.parent, kept.path.stat().st_size, kept.path.name)
        about = {"inputs": kept.header["inputs"], "options": kept.header["options"]}
        return assemble_audio(kept.path, mended(kept, again), uids=kept.uids, encoder=kept.encoder, **about)


def check_encoder(name: str, weights: Path | None) -> None:
    """Refuse an encoder without its weights before any work is done.

    Raises: AvsctlError: If the name is unknown, or weights are missing or of no use.
    """
    if name not in ENCODERS:
        raise AvsctlError(f"No audio encoder {name}. Choose one of {', '.join(ENCODERS)}.")
    if name == "logmel" and weights is not None:
        raise AvsctlError(f"The encoder logmel has no weights: leave out --weights {weights}, or choose --encoder.")
    if name != "logmel" and (weights is None or not weights.is_file()):
        found = f"{weights} is no file" if weights else "none were given"
        raise AvsctlError(f"The encoder {name} needs its weights, and {found}. Add --weights FILE, or use logmel.")


def load_encoder(name: str, weights: Path | None) -> AudioEncoder:
    """Build an encoder.

    Raises: AvsctlError: If its weights don't fit.
    """
    check_encoder(name, weights)
    try:
        return encoder(name, weights)
    except ValueError as error:
        raise AvsctlError(f"{error}. Give the released file of {name} with --weights.") from None


def read_wave(data: bytes, uid: str) -> tuple[np.ndarray, int]:
    """Decode a clip's wav file to (samples, channels) float32 and its rate.

    Raises: AvsctlError: If it is not readable, empty, too long, or holds NaN.
    """
    try:
        return decode_sound(data)
    except ValueError as error:
        raise AvsctlError(
            f"The sound of clip {uid} {error}. Repair its audio.wav and run 'avsctl prepare' again."
        ) from None


def embed_clip(encode: AudioEncoder, cache: ClipCache, clip: int) -> np.ndarray:
    """(T, D) float32 of a clip: from the stored log-mel where the dataset has it, else from its wav file.

    Raises: AvsctlError: If the sound can't be used.
    """
    frames, uid = cache.frame_count(clip), cache.uids[clip]
    try:
        stored, wav = cache.log_mel(clip), cache.audio_bytes(clip)
        # YAMNet's own front end differs a little from the stored one, so it prefers the wav file.
        if stored is not None and (encode.name != "yamnet" or not wav):
            return encode.encode_examples(stored, frames)
        return encode.encode(*read_wave(wav, uid), frames)
    except ValueError as error:
        raise AvsctlError(f"The sound of clip {uid} can't be used ({error}). Repair its audio.wav.") from None


@dataclass(frozen=True)
class _Embedding:
    """Embeds the clips of one shard; what a worker process holds."""

    clips: ClipCache
    numbers: range
    encoder: str
    weights: Path | None
    pca: Path | None
    shards: Shards

    def __call__(self, shard: int) -> int:
        encode, post = _tools(self.encoder, self.weights, self.pca)
        chosen = [self.numbers[place] for place in self.shards.range(shard)]
        items = [{"embedding": post(embed_clip(encode, self.clips, clip))} for clip in chosen]
        self.shards.write(shard, items)
        return shard


@lru_cache(maxsize=1)
def _tools(
    name: str, weights: Path | None, pca: Path | None
) -> tuple[AudioEncoder, Callable[[np.ndarray], np.ndarray]]:
    """Loaded once in each process."""
    if name != "logmel":
        import torch

        torch.set_num_threads(1)
    return load_encoder(name, weights), _load_pca(name, pca)


def _load_pca(name: str, pca: Path | None) -> Callable[[np.ndarray], np.ndarray]:
    if pca is None:
        return lambda embedding: embedding
    if name != "vggish":
        raise AvsctlError(f"--pca {pca} is VGGish's post-processing: add --encoder vggish, or leave it out.")
    from avsctl_models.audio.vggish import load_pca, pca_quantised, relu

    try:
        eigenvectors, means = load_pca(pca)
    except ValueError as error:
        raise AvsctlError(f"{error}. Give the released vggish_pca_params file with --pca.") from None
    return lambda embedding: pca_quantised(relu(embedding), eigenvectors, means)


def _hash_file(path: Path | None) -> str:
    return hash_of_file(path) if path else ""


def _check_same(cache: AudioCache, plan: dict[str, str]) -> None:
    made, out = cache.header["options"], cache.path
    if made != plan:
        differs = ", ".join(sorted(key for key in plan if made.get(key) != plan[key]))
        raise AvsctlError(f"{out} was made with another {differs}. Add --overwrite to make it again, or choose --out.")
