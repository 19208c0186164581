"""Convert released weights: a file of another program in, a safetensors file of ours out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsctl.errors import AvsctlError
from avsctl_models import SegmentationModel, save_model
from avsctl_models.weights import vggish
from avsctl_models.weights.files import write_weights
from avsctl_models.weights.importing import Foreign, fill_model, find_config, read_foreign
from avsctl_models.weights.mapping import MisfitError, Report


@dataclass(frozen=True)
class Imported:
    """What became of a file of weights.

    Attributes:
        content: The result for machines: file, source, sizes, counts, every name, and what was written.
        problem: Why nothing was written, None if it was.
    """

    content: dict[str, Any]
    problem: str | None = None


def import_weights(
    file: str, out: Path, *, source: str = "auto", config: Path | None = None, overwrite: bool = False
) -> Imported:
    """Convert foreign weights and write them, or say what is missing.

    Args:
        file: A file, a folder in Hugging Face's format, or `hf://owner/name`.
        out: The `.safetensors` file to write.
        source: Whose weights they are, `auto` to find out.
        config: JSON of the model's sizes; None takes the JSON beside the file, or else the published sizes.
    Returns: What matched, is missing or was not used. If anything that the model needs is missing, `problem` says
        so and nothing is written.
    Raises: AvsctlError: If the file cannot be read or is none of the known sources, or `out` is not to be written.
    """
    _check_target(out, file, overwrite)
    try:
        foreign = read_foreign(file, source)
        if foreign.source == vggish.SOURCE:
            return _import_vggish(foreign, out)
        sizes, origin = find_config(foreign, config)
    except ValueError as error:
        raise AvsctlError(f"{error}. See 'avsctl import-weights --help'.") from None
    try:
        model, report = fill_model(foreign, sizes, origin)
    except MisfitError as error:
        return Imported(_content(foreign, error.report, sizes=origin), f"{error}. Give its sizes with --config.")
    except ValueError as error:
        raise AvsctlError(f"{error}. Give its sizes with --config.") from None
    out.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, out)
    return Imported(_content(foreign, report, sizes=origin, out=out, model=_describe(model)))


def _import_vggish(foreign: Foreign, out: Path) -> Imported:
    tensors, report = vggish.convert(foreign.state)
    what = vggish.describe(foreign.state)
    if not report.complete:
        problems = [f"{name} is missing" for name in report.missing] + report.mismatched
        problem = f"{foreign.name} is not whole: {len(problems)} tensors of {what}, first {'; '.join(problems[:3])}"
        return Imported(_content(foreign, report), f"{problem}. Restore the file.")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_weights(tensors, out, {})
    numbers = sum(tensor.numel() for tensor in tensors.values())
    return Imported(_content(foreign, report, out=out, model={"name": what, "parameters": numbers}))


def _check_target(out: Path, file: str, overwrite: bool) -> None:
    if out.suffix != ".safetensors":
        raise AvsctlError(f"--out {out} must end in .safetensors, the format that is written.")
    if not out.exists():
        return
    if Path(file).exists() and out.samefile(file):
        raise AvsctlError(f"--out {out} is the file to convert. Choose another --out.")
    if out.is_dir() or not overwrite:
        raise AvsctlError(f"{out} exists already. Add --overwrite to replace it, or choose another --out.")


def _content(
    foreign: Foreign,
    report: Report,
    *,
    sizes: str | None = None,
    out: Path | None = None,
    model: dict[str, Any] | None = None,
) -> dict[str, Any]:
    names = {
        "matched": report.matched,
        "unused": report.unused,
        "missing": report.missing,
        "misshapen": report.mismatched,
        "recomputed": report.ignored,
        "dead": report.dead,
        "vggish": report.sound,
    }
    return {
        "file": foreign.name,
        "source": foreign.source,
        "sizes": sizes,
        "counts": {name: len(listed) for name, listed in names.items()},
        **names,
        "model": model,
        "out": None if out is None else str(out),
    }


def _describe(model: SegmentationModel) -> dict[str, Any]:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {**model.spec, "parameters": parameters, "uses_prior": model.uses_prior}
