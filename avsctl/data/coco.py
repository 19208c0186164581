"""Masks in a COCO file, as annotation tools export them, as label maps of clips."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from avsctl.caches.files import hash_of, read_json
from avsctl.data.media import BrokenClip
from avsctl.errors import AvsctlError

BACKGROUND = "background"


@dataclass
class _Picture:
    """An annotated picture: its size, and its annotations in the file's order."""

    width: int
    height: int
    annotations: list[Mapping[str, Any]] = field(default_factory=list)


class CocoMasks:
    """The masks of a COCO file: polygons and run lengths, plain or compressed.

    The name of a picture says whose it is: `<uid>/frames/<second>.jpg`, `<uid>/<second>.jpg` or
    `<uid>_<second>.jpg`, below any folders and with any ending. A picture that is listed without an annotation is
    labelled as background.

    Args:
        path: the JSON file.
        uids: of the clips it may be about.
    Attributes:
        names: of the categories, in the order of their ids, behind the background.
    Raises: AvsctlError: If it is no COCO file, or a picture in it belongs to no clip.
    """

    def __init__(self, path: Path, uids: Collection[str]):
        self.path = path
        content = read_json(path)
        images, annotations, categories = (_list(path, content, key) for key in ("images", "annotations", "categories"))
        self._index = _category_index(path, categories)
        self.names = [BACKGROUND, *(category["name"] for category in sorted(categories, key=lambda one: one["id"]))]
        if len(set(self.names)) < len(self.names):
            raise AvsctlError(f"{path} names two categories alike, or one {BACKGROUND}. Give each a name of its own.")
        self._pictures: dict[str, dict[int, _Picture]] = {}
        by_id: dict[Any, _Picture] = {}
        for image in images:
            by_id[image.get("id")] = self._add(image, uids)
        for annotation in annotations:
            picture = by_id.get(annotation.get("image_id"))
            if picture is None or annotation.get("category_id") not in self._index:
                raise AvsctlError(
                    f"{path}: annotation {annotation.get('id')} is of image {annotation.get('image_id')} and category "
                    f"{annotation.get('category_id')}, which the file doesn't list. Export it again."
                )
            picture.annotations.append(annotation)

    def labelled(self, uid: str) -> tuple[int, ...]:
        """The seconds of a clip that have labels."""
        return tuple(sorted(self._pictures.get(uid, {})))

    def fingerprint(self, uid: str) -> str:
        """Hash of all that is said of a clip."""
        return hash_of(*(f"{second} {picture}" for second, picture in sorted(self._pictures.get(uid, {}).items())))

    def label(self, uid: str, second: int, size: tuple[int, int], classes: Sequence[str]) -> np.ndarray:
        """(H, W) uint8 indices into `classes`; where objects overlap the smaller one is in front.

        Args:
            size: (width, height) of the frame.
        Raises: BrokenClip: If it has another size, or an annotation has no mask that can be read.
        """
        picture = self._pictures[uid][second]
        if (picture.width, picture.height) != size:
            raise BrokenClip(
                self.path,
                f"says that second {second} of {uid} has {picture.width}x{picture.height} pixels, but the frame has "
                f"{size[0]}x{size[1]}",
                "label of another size",
            )
        masks = [(self._mask(one, picture), classes.index(self._name(one))) for one in picture.annotations]
        index = np.zeros((picture.height, picture.width), np.uint8)
        for mask, number in sorted(masks, key=lambda pair: -int(pair[0].sum())):
            index[mask] = number
        return index

    def _name(self, annotation: Mapping[str, Any]) -> str:
        return self.names[1 + self._index[annotation["category_id"]]]

    def _add(self, image: Mapping[str, Any], uids: Collection[str]) -> _Picture:
        name, width, height = (image.get(key) for key in ("file_name", "width", "height"))
        if not isinstance(name, str) or not all(isinstance(side, int) and side > 0 for side in (width, height)):
            what = f"image {image.get('id')} lacks file_name, width or height"
            raise AvsctlError(f"{self.path}: {what}. Export it again.")
        place = find_second(name, uids)
        if place is None:
            raise AvsctlError(
                f"{self.path}: the image {name} belongs to no clip of clips.csv. Name images UID/SECOND.jpg or "
                f"UID_SECOND.jpg, and list their clips in clips.csv."
            )
        uid, second = place
        picture = _Picture(int(image["width"]), int(image["height"]))
        if self._pictures.setdefault(uid, {}).setdefault(second, picture) is not picture:
            raise AvsctlError(f"{self.path} lists two images of second {second} of {uid}. Export it again.")
        return picture

    def _mask(self, annotation: Mapping[str, Any], picture: _Picture) -> np.ndarray:
        """(H, W) bool."""
        codec = _pycocotools()
        shape = picture.height, picture.width
        segmentation = annotation.get("segmentation")
        try:
            if not segmentation:
                raise ValueError("it has none, only a box")
            if isinstance(segmentation, list):
                _check_polygons(segmentation)
                runs = codec.merge(codec.frPyObjects(segmentation, *shape))
            else:
                if list(segmentation["size"]) != list(shape):
                    raise ValueError(f"it is of size {segmentation['size']}, the image of {list(shape)}")
                plain = isinstance(segmentation["counts"], list)
                runs = codec.frPyObjects(segmentation, *shape) if plain else segmentation
            mask = codec.decode(runs).astype(bool)
            if mask.shape != shape:
                raise ValueError(f"it decodes to {mask.shape}")
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            what = f"has an annotation {annotation.get('id')} whose segmentation can't be read ({error})"
            raise BrokenClip(self.path, what, "broken annotation") from None
        return mask


def find_second(name: str, uids: Collection[str]) -> tuple[str, int] | None:
    """The clip and second that a picture's name means; None if it is none of these clips'."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.stem.isascii() and path.stem.isdigit():
        folders = [part for part in path.parts[:-1] if part != "frames"]
        return (folders[-1], int(path.stem)) if folders and folders[-1] in uids else None
    match = re.fullmatch(r"(.+)[_-]([0-9]+)", path.stem)
    return (match[1], int(match[2])) if match and match[1] in uids else None


def _list(path: Path, content: Any, key: str) -> list[dict[str, Any]]:
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise AvsctlError(f"{path} is no COCO file of instances: it lacks the list {key}. Export it as COCO again.")
    return found


def _category_index(path: Path, categories: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    named = all(isinstance(one.get("name"), str) and one["name"] for one in categories)
    numbered = all(isinstance(one.get("id"), int) for one in categories)
    ids = sorted(one["id"] for one in categories) if named and numbered else []
    if not ids or len(set(ids)) < len(ids):
        raise AvsctlError(f"{path} needs categories, each with an id and a name of its own. Export it again.")
    return {number: place for place, number in enumerate(ids)}


def _check_polygons(polygons: Sequence[Any]) -> None:
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon is a list of x, y, x, y … of three or more points")
        if not all(isinstance(number, (int, float)) and np.isfinite(number) for number in polygon):
            raise ValueError("a polygon holds what is no number")


def _pycocotools() -> Any:
    try:
        from pycocotools import mask
    except ImportError:
        raise AvsctlError(
            "Masks in COCO files are read by pycocotools, which is not here. Install it: pip install 'avsctl[coco]'."
        ) from None
    return mask
