"""An exported classifier at work: the path of a picture in, its classes and their probabilities out.

    Predictor("model.safetensors")("cat.jpg")        # [("cat", 0.93), ("dog", 0.05), ...]
"""

from __future__ import annotations

from pathlib import Path

import torch

from data_shards.batch import Draw
from pipeline import config
from pipeline.errors import ArtifactError
from pipeline.released import safetensors
from pipeline.views import Evaluation
