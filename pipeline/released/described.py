"""What is said of weights beside them: how pictures are shown, mean and deviation, the classes' names, the licence.

    our safetensors                  the description in its metadata
    timm's config.json               `pretrained_cfg`, `label_names`
    transformers' config.json        `id2label`; preprocessor_config.json has the rest
    README.md of a hub               its head: `license`

Each is read into the same `Description`, where a field that nothing is said about stays None.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from pipeline.errors import ArtifactError

Channels = tuple[float, float, float]
Filter = Literal["bilinear", "bicubic"]
_PILLOW: dict[int, str] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
DESCRIPTIONS = ("config.json", "preprocessor_config.json")
"""What is looked for beside a file of weights, and, for its licence alone:"""
README = "README.md"
WARPED_FROM = 384
"""From this size on transformers' ConvNextImageProcessor, which its RegNets use, warps the picture to a square."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is said of a network; None for what is not."""

    view: Mapping[str, Any] | None = None
    """A mapping of `Evaluation.Config`."""
    mean: Channels | None = None
    std: Channels | None = None
    classes: tuple[str, ...] | None = None
    model: Mapping[str, Any] | None = None
    """A mapping of `RegNet.Config`, which only our own files have."""
    licence: str | None = None
    source: str = ""
    """Which file says so."""
    notes: tuple[str, ...] = ()
    """What is asked for and not done here, in sentences."""

    def over(self, other: Description) -> Description:
        """This, and what `other` says beside it."""
        fields = ("view", "mean", "std", "classes", "model", "licence")
        mine = {name: value for name in fields if (value := getattr(self, name)) is not None}
        source = ", ".join(text for text in (self.source, other.source) if text)
        return replace(other, **mine, source=source, notes=(*self.notes, *other.notes))


def beside(file: Path, says: Mapping[str, str]) -> Description:
    """What a file of weights and those beside it say. Raises `ArtifactError` for a description that cannot be read."""
    found = _of_ours(file, says)
    for name, read in zip(DESCRIPTIONS, (_of_config, of_processor), strict=True):
        if (path := file.parent / name).is_file():
            body = _json(path)
            try:
                said = replace(read(body), source=name)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                raise _unreadable(path, error) from None
            found = found.over(said) if _says_something(said) else found
    if (readme := file.parent / README).is_file() and found.licence is None:
        found = replace(found, licence=_licence(readme.read_text(encoding="utf-8", errors="replace")))
    return found


def _of_ours(file: Path, says: Mapping[str, str]) -> Description:
    if not says.get("format", "").startswith("seer-pipeline"):
        return Description()
    try:
        body = json.loads(says["description"])
        said = body.get("preprocessing") or {}  # mean and deviation are the model's
        shown = {key: said[key] for key in ("size", "resize", "interpolation", "keep_ratio") if key in said} or None
        classes = tuple(map(str, body.get("classes") or ())) or None
        licence = body.get("licence") or None
        return Description(view=shown, model=body["model"], classes=classes, licence=licence, source=file.name)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise _unreadable(file, error) from None


def _of_config(body: Mapping[str, Any]) -> Description:
    """`config.json`: timm's has `architecture`, transformers' `model_type`."""
    if "pretrained_cfg" in body or "architecture" in body:
        return of_timm(body)
    labels = body.get("id2label") or {}
    names = tuple(str(labels[key]) for key in sorted(labels, key=int))
    given = names and any(name != f"LABEL_{n}" for n, name in enumerate(names))
    return Description(classes=names if given else None)


def of_timm(body: Mapping[str, Any]) -> Description:
    """timm's `config.json`, as its `validate.py` reads it: at the size for tests where there is one."""
    shown = body.get("pretrained_cfg") or body
    size = int((shown.get("test_input_size") or shown.get("input_size") or (3, 224, 224))[-1])
    resize = math.floor(size / float(shown.get("test_crop_pct") or shown.get("crop_pct") or 0.875))
    names = body.get("label_names") or shown.get("label_names")
    filter_, notes = _filter(shown.get("interpolation") or "bicubic")
    squash = shown.get("crop_mode") == "squash"
    return Description(
        view={"size": size, "resize": max(size, resize), "interpolation": filter_, "keep_ratio": not squash},
        mean=_channels(shown.get("mean")),
        std=_channels(shown.get("std")),
        classes=tuple(map(str, names)) if names else None,
        licence=shown.get("license"),
        notes=notes,
    )


def of_processor(body: Mapping[str, Any]) -> Description:
    """transformers' `preprocessor_config.json`, of its ConvNext, ViT and BiT processors."""
    size, crop = body.get("size"), body.get("crop_size")
    kind = str(body.get("image_processor_type") or body.get("feature_extractor_type") or "")
    edge = size if isinstance(size, int) else (size or {}).get("shortest_edge") or (size or {}).get("height")
    filter_, notes = _filter(_PILLOW.get(body.get("resample", 3), "bicubic"))
    view: dict[str, Any] | None = None
    if edge is not None:
        edge, cropped = int(edge), int((crop if isinstance(crop, int) else (crop or {}).get("height")) or edge)
        if kind.startswith("ConvNext") and edge < WARPED_FROM:
            view = {"size": edge, "resize": int(edge / float(body.get("crop_pct") or 224 / 256)), "keep_ratio": True}
        elif kind.startswith("ConvNext") or (isinstance(size, Mapping) and "height" in size):
            cropped = cropped if body.get("do_center_crop") and not kind.startswith("ConvNext") else edge
            view = {"size": min(cropped, edge), "resize": edge, "keep_ratio": False}
        else:
            view = {"size": min(cropped, edge), "resize": edge, "keep_ratio": True}
        view["interpolation"] = filter_
    plain = body.get("do_normalize", True)
    return Description(
        view=view,
        mean=_channels(body.get("image_mean")) if plain else (0.0, 0.0, 0.0),
        std=_channels(body.get("image_std")) if plain else (1.0, 1.0, 1.0),
        notes=notes,
    )


def _filter(name: str) -> tuple[Filter, tuple[str, ...]]:
    if name in ("bilinear", "bicubic"):
        return cast(Filter, name), ()
    return "bicubic", (f"it asks for {name} interpolation; bicubic is used",)


def _channels(values: Any) -> Channels | None:
    if values is None:
        return None
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _says_something(said: Description) -> bool:
    return any(value is not None for value in (said.view, said.mean, said.std, said.classes, said.licence))


def _licence(readme: str) -> str | None:
    """The licence in the head of a model card."""
    head = re.match(r"---\n(.*?)\n---", readme, re.DOTALL)
    found = {key: re.search(rf"^{key}: *(\S.*?) *$", head[1], re.MULTILINE) for key in _KEYS} if head else {}
    named = [match[1] for match in found.values() if match]
    return next((name for name in reversed(named) if name != "other"), named[0] if named else None)


_KEYS = ("license", "license_name")


def _json(path: Path) -> Mapping[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(body, Mapping):
            raise TypeError(f"it holds a {type(body).__name__}")
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise _unreadable(path, error) from None
    return body


def _unreadable(path: Path, error: Exception) -> ArtifactError:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return ArtifactError(str(path), f"cannot be read as a description ({reason})", "mend it, or take it away")
