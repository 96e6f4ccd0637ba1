"""The list of shards that the `wids` library opens: `wids.ShardListDataset("train.wids.json")`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from data_shards.manifest import Shard


def name_for(split: str) -> str:
    """The file that lists the shards of a split."""
    return f"{split}.wids.json"


def wids_index(split: str, shards: Sequence[Shard]) -> str:
    """The list of the shards of a split as JSON, a line each."""
    lines = ",\n".join("  " + json.dumps({"url": shard.name, "nsamples": shard.samples}) for shard in shards)
    return f'{{\n "wids_version": 1,\n "name": {json.dumps(split)},\n "shardlist": [\n{lines}\n ]\n}}\n'
