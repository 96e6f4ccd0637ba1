"""An exported classifier at work: a picture in, its classes and their probabilities out.

Predictor("model.safetensors")("cat.jpg")        # [("cat", 0.93), ("dog", 0.05), ...]
"""

from __future__ import annotations

from pathlib import Path

import torch

from data_shards.batch import Draw
from data_shards.errors import ImageError
from data_shards.readers.reader import read_file
from pipeline import config
from pipeline.errors import ArtifactError
from pipeline.released import safetensors
from pipeline.views import Evaluation


class Predictor:
    """Names the class of a picture as evaluation does: the same decoding, the same crop, the same network in fp32."""

    def __init__(self, model: str | Path, device: str = "cpu") -> None:
        """`model` is what `export` wrote. Raises `ArtifactError` for another file, or one without a classifier."""
        description = safetensors.describe(model)
        self.classes: tuple[str, ...] = tuple(description.get("classes") or ())
        if not self.classes:
            raise ArtifactError(str(model), "has no classifier", "export the run of a fine-tuning")
        self.network = safetensors.load(model).to(device)
        shown = {key: value for key, value in description["preprocessing"].items() if key not in ("mean", "std")}
        self._transform = config.build(Evaluation.Config, shown).build()
        self._device = device

    @torch.inference_mode()
    def __call__(self, picture: str | Path | bytes, top: int = 5) -> list[tuple[str, float]]:
        """The `top` likeliest classes of a file, or of its bytes, with their probabilities; the likeliest first.

        Raises `ArtifactError` for what is no picture.
        """
        arrays = self._transform.allocate(1)
        try:
            self._transform.write(_content(picture), Draw(0, 0, 0), arrays, 0)
        except (ImageError, OSError) as error:
            where = "picture" if isinstance(picture, bytes) else str(picture)
            raise ArtifactError(where, f"cannot be read ({error})", "give a picture that opens") from None
        crops = torch.from_numpy(arrays[0]).permute(0, 1, 4, 2, 3).to(self._device)
        shares = self.network(self.network.backbone.prepare(crops))[0].softmax(0)
        best = shares.topk(min(top, len(self.classes)))
        return [(self.classes[i], float(p)) for p, i in zip(best.values, best.indices.tolist(), strict=True)]


def _content(picture: str | Path | bytes) -> bytes:
    return picture if isinstance(picture, bytes) else read_file(str(picture))
