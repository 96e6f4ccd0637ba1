"""torch.compile for the blocks of a backbone, one at a time: a block is short to compile, and alike for its stage.

Only a block's arithmetic is compiled: sharding, recomputation and their hooks stay outside, so all of these compose.
SyncBatchNorm talks to other processes and runs as it is, between two compiled parts.
"""

from __future__ import annotations

import os
import shutil

import torch

from pipeline.models.backbone import Backbone

_VERSIONS = 8
"""Times a block may be compiled: for two resolutions, in training, recomputation and evaluation, with some to spare."""


def find_compiler() -> str | None:
    """The C++ compiler that torch would use on a CPU; None where there is none."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    return next((found for found in map(shutil.which, names) if found), None)


def compile_blocks(backbone: Backbone, backend: str = "inductor") -> None:
    """Compile each block of `backbone` at its first run. Call before sharding."""
    blocks = backbone.blocks()
    # All blocks are one class, and torch counts versions a class; past the limit it goes on uncompiled.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _VERSIONS * len(blocks))
    for block in blocks:
        block.forward = torch.compile(block.forward, dynamic=False, backend=backend)
