"""ordering: what `data_shards.order` is made of, and what is made of it. Pure functions of shards, seed and position.

permute.py           a keyed permutation, evaluated at any point
mixture.py           several sets in one stream, by weight
growth.py            a set that grows during a run
shuffle_quality.py   a shuffle measured against a full permutation
"""
