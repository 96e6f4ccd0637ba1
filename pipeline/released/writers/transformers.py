"""transformers: a folder for `from_pretrained`, with its preprocessing; the only file that imports transformers.

Its RegNet has any widths and depths, one group width, squeeze-and-excitation of a quarter or none, and strides of 2
from the second stage on.

The processor is BiT's, which resizes the shorter side and crops the centre. ConvNeXT's, which transformers' own RegNets
come with, knows one size only and leaves the crop out from 384 pixels on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.models.regnet import RegNet
from pipeline.released.layouts import LAYOUTS
from pipeline.released.writers.names import WEIGHTS, save_tensors
from pipeline.released.writers.writer import Release, Writer, python
from pipeline.views import Evaluation

_PILLOW = {"bilinear": 2, "bicubic": 3}
"""Pillow's numbers of the filters."""


class Transformers(Writer):
    title = "transformers"
    opens_with = ("transformers",)
    remark = "where an odd number of pixels is cut off, its processor may begin the crop one pixel earlier"

    def obstacle(self, model: RegNet.Config) -> str | None:
        stages = model.stages()
        if model.stem != "imagenet":
            return f"its RegNet has no {model.stem} stem"
        if any(stride != 2 for stride in model.strides[1:]) or model.strides[0] not in (1, 2):
            return f"its RegNet has strides of 2 from the second stage on, and here they are {list(model.strides)}"
        given = [
            model.stem_width,
            *stages.widths[:-1],
            *(w for w, n in zip(stages.widths, stages.depths, strict=True) if n > 1),
        ]
        if stages.squeeze and any(round(width * stages.squeeze) != round(width / 4) for width in given):
            return f"its RegNet squeezes to a quarter, and squeeze is {stages.squeeze:g}"
        return None

    def write(self, release: Release, folder: Path) -> None:
        save_tensors(release, LAYOUTS["transformers"], folder / WEIGHTS)
        for name, content in (("config.json", _config(release)), ("preprocessor_config.json", processor(release))):
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @torch.no_grad()
    def outputs(self, release: Release, folder: Path, images: Tensor) -> Tensor:
        import transformers
        from transformers.utils import logging

        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            model = getattr(transformers, _class(release)).from_pretrained(folder, local_files_only=True)
        finally:
            if shown:
                logging.enable_progress_bar()
        found = model.eval()(images)
        outputs: Tensor = found.logits if release.classes else found.pooler_output.flatten(1)
        return outputs

    def usage(self, release: Release, folder: str) -> str:
        return python(
            f"from transformers import AutoImageProcessor, {_class(release)}",
            f'model = {_class(release)}.from_pretrained("{folder}")',
            f'processor = AutoImageProcessor.from_pretrained("{folder}")',
        )


def processor(release: Release) -> dict[str, Any]:
    """`preprocessor_config.json`."""
    view: Evaluation.Config = release.view
    return {
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": view.resize} if view.keep_ratio else {"height": view.resize, "width": view.resize},
        "resample": _PILLOW[view.interpolation],
        "do_center_crop": True,
        "crop_size": {"height": view.size, "width": view.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(release.model.mean),
        "image_std": list(release.model.std),
    }


def _class(release: Release) -> str:
    return "RegNetForImageClassification" if release.classes else "RegNetModel"


def _config(release: Release) -> dict[str, Any]:
    stages = release.model.stages()
    config: dict[str, Any] = {
        "architectures": [_class(release)],
        "model_type": "regnet",
        "num_channels": 3,
        "embedding_size": release.model.stem_width,
        "hidden_sizes": stages.widths,
        "depths": stages.depths,
        "groups_width": max(stages.group_widths),  # narrower stages have one group
        "layer_type": "y" if stages.squeeze else "x",
        "hidden_act": "relu",
        "downsample_in_first_stage": release.model.strides[0] == 2,
        "torch_dtype": "float32",
    }
    if release.classes:
        config["id2label"] = {str(number): name for number, name in enumerate(release.classes)}
        config["label2id"] = {name: number for number, name in enumerate(release.classes)}
    return config
