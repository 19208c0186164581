"""Damage that any file can take, and damage that keeps a file's own checks content, so that it gets further in.

A mutator is `function(rng, path)`: it changes the file, which is the case's own copy.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np

Rng = np.random.Generator
HUGE = (0, 1, 2**15, 2**16 - 1, 30_000, 100_000, 2**31 - 1)
FOREIGN = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0\x00\x10JFIF",
    b"RIFF\xff\xff\xff\xffWAVEfmt ",
    b"\x89HDF\r\n\x1a\n",
    b"{}",
    b"PK\x03\x04",
    b"\x80\x04cos\nsystem\n",
    b"%!PS-Adobe\nshowpage\n",
    b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
    b"ffconcat version 1.0\nfile /etc/passwd\n",
    b"GIF89a\xff\xff\xff\xff",
    b"\xff\xfe\x00\x00",
    b"null",
    b"\n" * 100,
    b"<svg xmlns='http://www.w3.org/2000/svg' width='99999' height='99999'/>",
    b"\x1f\x8b\x08" + b"\0" * 50,
)
"""Heads of files of other kinds."""


def truncate(rng: Rng, path: Path) -> None:
    """Cut the end off."""
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.integers(0, max(len(data), 1)))])


def flip_bits(rng: Rng, path: Path) -> None:
    """Flip 1 to 64 bits anywhere."""
    _flip(rng, path, 1.0)


def flip_head(rng: Rng, path: Path) -> None:
    """Flip bits in the first bytes, where headers lie."""
    _flip(rng, path, 512 / max(path.stat().st_size, 512))


def _flip(rng: Rng, path: Path, share: float) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(2 ** int(rng.integers(0, 7)) if data else 0):
        data[int(rng.integers(0, max(1, int(len(data) * share))))] ^= 1 << int(rng.integers(0, 8))
    path.write_bytes(bytes(data))


def zero_block(rng: Rng, path: Path) -> None:
    """Zero bytes where a disk lost a block, or in the whole file."""
    data = bytearray(path.read_bytes())
    start = int(rng.integers(0, max(len(data), 1)))
    length = int(rng.choice([16, 512, 4096, len(data)]))
    start = 0 if length == len(data) else start
    data[start : start + length] = bytes(min(length, len(data) - start))
    path.write_bytes(bytes(data))


def random_block(rng: Rng, path: Path) -> None:
    """Noise over a part."""
    data = bytearray(path.read_bytes())
    start = int(rng.integers(0, max(len(data), 1)))
    noise = rng.bytes(int(rng.integers(1, 200)))
    data[start : start + len(noise)] = noise
    path.write_bytes(bytes(data))


def big_numbers(rng: Rng, path: Path) -> None:
    """Numbers of four or eight bytes in the head become the largest there are."""
    data = bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 4))):
        start = int(rng.integers(0, max(1, min(len(data), 600))))
        data[start : start + 4] = rng.choice([b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0"])
    path.write_bytes(bytes(data))


def another_kind(rng: Rng, path: Path) -> None:
    """The head of a file of another kind."""
    path.write_bytes(FOREIGN[int(rng.integers(len(FOREIGN)))] + rng.bytes(int(rng.integers(0, 64))))


def doubled(rng: Rng, path: Path) -> None:
    """The file twice, or with something left behind it."""
    data = path.read_bytes()
    path.write_bytes(data + (data if rng.random() < 0.5 else rng.bytes(1000)))


def no_file(rng: Rng, path: Path) -> None:
    """A folder, a pipe, a loop of links, a link out, or nothing where the file was."""
    path.unlink()
    kind = int(rng.integers(6))
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.symlink_to(path.name)
    elif kind == 3:
        path.symlink_to("/etc/passwd")
    elif kind == 4:
        path.symlink_to("/dev/zero")


def unreadable_length(rng: Rng, path: Path) -> None:
    """A file of a gigabyte of zeros, which takes no space."""
    with path.open("r+b") as file:
        file.truncate(int(rng.choice([2**20, 2**28, 2**30, 2**33])))


ANY = (
    truncate,
    truncate,
    flip_bits,
    flip_bits,
    flip_head,
    flip_head,
    zero_block,
    random_block,
    big_numbers,
    another_kind,
    doubled,
    no_file,
    unreadable_length,
)


def png_sizes(rng: Rng, path: Path) -> None:
    """Another width, height, depth or colour kind in a PNG's head, with the right checksum."""
    data = bytearray(path.read_bytes())
    if rng.random() < 0.7:
        data[16:24] = struct.pack(">II", int(rng.choice(HUGE)), int(rng.choice(HUGE)))
    else:
        data[24 + int(rng.integers(0, 5))] = int(rng.integers(0, 17))
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    path.write_bytes(bytes(data))


def png_bomb(rng: Rng, path: Path) -> None:
    """A whole, valid PNG of a few kilobytes that holds up to a billion pixels, or a bomb of text."""
    side = int(rng.choice([4_000, 9_000, 20_000, 32_000]))
    if rng.random() < 0.3:
        text = _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(200_000_000 if rng.random() < 0.3 else 2_000_000)))
        data = path.read_bytes()
        path.write_bytes(data[:33] + text + data[33:])
        return
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(side // 8 + 1)) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)  # one bit a pixel: a small file, a large picture
    chunks = _chunk(b"IHDR", head) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def jpeg_sizes(rng: Rng, path: Path) -> None:
    """Another height or width, or number of parts, in a JPEG's frame head."""
    data = bytearray(path.read_bytes())
    start = next((i for i in range(len(data) - 9) if data[i] == 0xFF and data[i + 1] in (0xC0, 0xC1, 0xC2)), None)
    if start is None:
        return
    sizes = [int(value) & 0xFFFF for value in rng.choice(HUGE, 2)]
    data[start + 5 : start + 9] = struct.pack(">HH", *sizes)
    if rng.random() < 0.2:
        data[start + 9] = int(rng.integers(0, 8))
    path.write_bytes(bytes(data))


def wav_head(rng: Rng, path: Path) -> None:
    """Another rate, number of channels, width, or length in a wav's head, 10 hours among them."""
    data = bytearray(path.read_bytes())
    place = data.find(b"data")
    kind = int(rng.integers(6))
    if kind == 0:
        data[24:28] = struct.pack("<I", int(rng.choice([0, 1, 7, 2**31 - 1, 2**32 - 1, 768_000])))
    elif kind == 1:
        data[22:24] = struct.pack("<H", int(rng.choice([0, 2, 7, 1024, 65535])))
    elif kind == 2:
        data[34:36] = struct.pack("<H", int(rng.choice([0, 1, 8, 24, 64, 65535])))
    elif kind == 3 and place > 0:
        data[place + 4 : place + 8] = struct.pack("<I", int(rng.choice([0, 2, 36_000 * 32_000, 2**32 - 1])))
    elif kind == 4:
        data[20:22] = struct.pack("<H", int(rng.choice([0, 2, 3, 6, 17, 85, 65534])))
    elif place > 0:
        length = int(rng.choice([0, 1, 2, 4]))  # no sample, a part of one, one
        data = data[: place + 8 + length]
        data[place + 4 : place + 8] = struct.pack("<I", length)
    path.write_bytes(bytes(data))


def sound_values(rng: Rng, path: Path) -> None:
    """A readable sound with NaN, infinite or huge samples, one sample, an odd rate, many channels, or 10 hours."""
    import soundfile

    samples, rate, name = rng.normal(size=4000), 16000, "WAV"
    kind = int(rng.integers(6))
    if kind < 3:
        samples[int(rng.integers(4000))] = (np.nan, np.inf, 1e38)[kind]
    elif kind == 3:
        samples = samples[: int(rng.choice([1, 2, 100]))]
    elif kind == 4:
        rate = int(rng.choice([1, 7, 11025, 192_000, 384_000, 2_000_000]))
    else:
        name, samples = "FLAC", None
    if samples is None:  # silence packs well: 10 hours in a few megabytes
        with soundfile.SoundFile(path, "w", 48000, 2, format="FLAC", subtype="PCM_16") as file:
            for _ in range(int(rng.choice([60, 3600]))):
                file.write(np.zeros((480_000, 2), np.int16))
        return
    soundfile.write(path, samples, rate, subtype="FLOAT", format=name)


def mp4_numbers(rng: Rng, path: Path) -> None:
    """Absurd numbers in the boxes that say how long, how large and how many."""
    data = bytearray(path.read_bytes())
    boxes = [b"mvhd", b"tkhd", b"mdhd", b"stts", b"stsz", b"stsc", b"stco", b"avc1", b"mp4a", b"elst", b"ctts", b"avcC"]
    for _ in range(int(rng.integers(1, 4))):
        start = data.find(boxes[int(rng.integers(len(boxes)))])
        if start < 0:
            continue
        place = start + 4 + 4 * int(rng.integers(0, 22))
        value = int(rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 36_000, 36_000_000, int(rng.integers(2**32))]))
        data[place : place + 4] = struct.pack(">I", value)
    path.write_bytes(bytes(data))


OWN = {
    "jpg": (jpeg_sizes, jpeg_sizes, png_bomb),
    "png": (png_sizes, png_sizes, png_bomb),
    "wav": (wav_head, wav_head, wav_head, sound_values, sound_values),
    "mp4": (mp4_numbers, mp4_numbers, mp4_numbers, mp4_numbers),
}
"""What is particular to files of pictures and sounds."""
