"""Opening of media files and reading of their packets past damage."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import av.error

from avsctl.errors import AvsctlError

DAMAGE = (av.error.FFmpegError, ValueError)
"""What PyAV raises on broken data."""

FORMATS = (
    "mov", "mp4", "matroska", "webm", "avi", "flv", "live_flv", "mpeg", "mpegts", "mpegvideo", "ogg", "asf", "wtv",
    "mxf", "nut", "rm", "dv", "ivf", "obu", "gif", "swf", "yuv4mpegpipe", "m4v", "h261", "h263", "h264", "hevc", "vvc",
    "av1", "mjpeg", "png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe", "wav", "w64", "aiff", "au", "caf", "flac", "mp3",
    "aac", "ac3", "eac3", "amr", "ape", "wv", "tty",
)  # fmt: skip
"""Containers that are opened. Playlists, lists of files and the like are not: they make FFmpeg open what they name."""
_OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}

_MAX_READ_ERRORS = 16  # consecutive failures of the container's reader after which the rest is given up
_ATTACHED_PICTURE = 0x400  # cover art in a sound file is no video


def open_container(path: Path):
    """Open a media file for reading; a context manager.

    Raises: AvsctlError: If it is missing, a folder, empty, unreadable, or no media file.
    """
    if not path.exists():
        raise AvsctlError(f"no video at {path}: check the path")
    if path.is_dir():
        raise AvsctlError(f"{path} is a folder, not a video: name a file in it")
    try:
        if path.stat().st_size == 0:
            raise AvsctlError(f"{path} is empty (0 bytes): copy or download it again")
        if not path.is_file():  # a pipe would be waited for
            raise AvsctlError(f"{path} is no file: name a video")
        # An absolute path is never taken for a protocol ("concat:…"), and formats that name other files are left out.
        container = av.open(str(path.absolute()), metadata_errors="ignore", options=_OPTIONS)
    except PermissionError as error:
        raise AvsctlError(f"{path} may not be read: change its permissions") from error
    except (*DAMAGE, OSError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise AvsctlError(
            f"{path} cannot be opened as a video ({reason}): it is cut off, damaged or of another kind; get it again"
        ) from error
    if container.format.name == "tty":  # FFmpeg plays any text file as a terminal recording
        container.close()
        raise AvsctlError(f"{path} is a text file, not a video: check the path")
    return container


def picture_stream(container, path: Path):
    """Return the first video stream that is not cover art.

    Raises: AvsctlError: If there is none (sound only, or nothing), or no decoder for it.
    """
    for stream in container.streams.video:
        disposition = getattr(stream, "disposition", 0)  # a number or a flag, by PyAV's version
        if getattr(disposition, "value", disposition) & _ATTACHED_PICTURE:
            continue
        if stream.codec_context is None:
            command = f"ffmpeg -i {quoted(path)} new.mp4"
            raise AvsctlError(f"{path}: no decoder for its pictures; convert it with `{command}`")
        return stream
    if container.streams.audio:
        raise AvsctlError(f"{path} has sound only, no pictures to label: give a video that has both")
    raise AvsctlError(f"{path} has no video track: give a video file")


def read_packets(container, stream, on_error: Callable[[], None]) -> Iterator:
    """Yield a stream's packets past unreadable places, and None last, which flushes the decoder."""
    failures = 0
    while failures < _MAX_READ_ERRORS:
        try:
            for packet in container.demux(stream):
                if packet.size:
                    failures = 0
                    yield packet
            break
        except DAMAGE:
            failures += 1
            if failures == 1:  # the same broken place fails again and again; it counts once
                on_error()
    yield None


def decode_packet(stream, packet, on_error: Callable[[], None]) -> list:
    """Decode one packet (None flushes) to a list of frames, empty where the data are damaged.

    Their `pts` count in the stream's time base; frames from a flush don't carry it themselves.
    """
    try:
        return stream.decode(packet)
    except av.error.EOFError:
        return []
    except DAMAGE:
        on_error()
        return []


def decode_stream(container, stream, on_error: Callable[[], None]) -> Iterator:
    """Yield all frames of a stream that can be decoded, in the order of showing."""
    for packet in read_packets(container, stream, on_error):
        yield from decode_packet(stream, packet, on_error)


def quoted(path: Path) -> str:
    """A path as a shell takes it for one word, in a command that the user is told to type."""
    return shlex.quote(str(path))


def ignore() -> None:
    """Take no notice of damage."""
