"""The sound of clips changed and embedded again, as `evaluate --audio` needs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.files import hash_of_file
from avsctl.data.changed_audio import ChangedAudio, SoundChange, fit_length, other_clips
from avsctl.data.decoding import decode_labels
from avsctl.distributed import gather, own_turns
from avsctl.errors import AvsctlError
from avsctl.progress import Track, silent
from avsctl.stages.extract_audio import load_encoder, read_wave


def change_sound(
    clips: ClipCache,
    audio: AudioCache,
    indices: Sequence[int],
    change: SoundChange,
    *,
    seed: int = 0,
    weights: Path | None = None,
    track: Track = silent,
) -> AudioCache | ChangedAudio:
    """Embed the changed sound of some clips with the cache's own encoder.

    Args:
        seed: of noise and of the choice of other clips.
        weights: the encoder's file, which the cache was made with; needed for vggish and yamnet, except by
            `original` and `other-clip`, which take what the cache holds.
    Raises: AvsctlError: If a clip's wave is missing, the weights are not the cache's, or a clip has no other.
    """
    if change.kind == "original":
        return audio
    if change.kind == "other-clip":
        embeddings = _others(clips, audio, indices, seed, track)
    else:
        embed = _embedder(clips, audio, change, seed, weights)
        own = own_turns(indices)  # of several processes each embeds some
        parts = gather(lambda: {clips.uids[clip]: embed(clip) for clip in track(own, f"sound: {change.name}")})
        embeddings = {uid: sound for part in parts for uid, sound in part.items()}
    return ChangedAudio(embeddings, audio.encoder, audio.dim, audio.path)


def check_change(audio: AudioCache, change: SoundChange, weights: Path | None) -> None:
    """Refuse a change that can't be embedded before any work is done.

    Raises: AvsctlError: If the encoder's weights are missing, or not those that the cache was made with.
    """
    if change.kind in ("original", "other-clip"):
        return
    if audio.encoder != "logmel" and weights is None:
        raise AvsctlError(
            f"--audio {change.name} embeds the sound again with {audio.encoder}, whose weights {audio.path} does not "
            f"hold. Add --weights FILE, the one given to 'avsctl extract-audio'."
        )
    load_encoder(audio.encoder, weights)
    made_with = audio.header["options"].get("weights", "")
    given = hash_of_file(weights) if weights else ""
    if made_with != given:
        raise AvsctlError(
            f"{weights} is not the file that {audio.path} was made with. Give that one with --weights, "
            f"or run 'avsctl extract-audio --encoder {audio.encoder} --weights {weights} --overwrite'."
        )


def _embedder(
    clips: ClipCache, audio: AudioCache, change: SoundChange, seed: int, weights: Path | None
) -> Callable[[int], np.ndarray]:
    check_change(audio, change, weights)
    encode = load_encoder(audio.encoder, weights)

    def embed(clip: int) -> np.ndarray:
        uid = clips.uids[clip]
        sound = clips.audio_bytes(clip)
        if not sound:
            raise AvsctlError(
                f"Clip {uid} has no wave, only its stored log-mel, so its sound can't be changed to {change.name}. "
                f"Use --audio other-clip, or prepare a dataset with audio.wav files."
            )
        try:
            wave, rate = read_wave(sound, uid)
            return encode.encode(change.apply(wave, rate, uid, seed), rate, clips.frame_count(clip))
        except ValueError as error:
            raise AvsctlError(f"The sound of clip {uid} can't be used ({error}). Repair its audio.wav.") from None

    return embed


def _others(
    clips: ClipCache, audio: AudioCache, indices: Sequence[int], seed: int, track: Track
) -> dict[str, np.ndarray]:
    donors: dict[str, str] = {}
    # Donors come from the whole split and subset, so that they don't depend on which of its clips are scored.
    for split, subset in sorted({(clips.splits[clip], clips.subsets[clip]) for clip in indices}):
        group = clips.select(split=split, subset=subset)
        if len(group) < 2:
            raise AvsctlError(
                f"{clips.path} holds one clip of subset {subset}, split {split}: there is no other clip's sound to "
                f"take. Choose another --audio, --split or --subset."
            )
        classes = [_sounding_classes(clips, clip) for clip in track(group, f"classes of {subset}")]
        donors |= other_clips([clips.uids[i] for i in group], [clips.videos[i] for i in group], classes, seed)
    return {
        clips.uids[clip]: fit_length(audio.embedding(donors[clips.uids[clip]]), clips.frame_count(clip))
        for clip in indices
    }


def _sounding_classes(clips: ClipCache, clip: int) -> set[int]:
    present: set[int] = set()
    for label in decode_labels(clips, clip):
        if label is not None:
            present.update(np.unique(label).tolist())
    return present - {0}
