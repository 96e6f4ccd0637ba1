"""loading: what is behind `data_shards.loader.Loader`.

sets.py      several shard sets as one
ahead.py     which shards will be needed
workers.py   threads that say what they hold
rows.py      the rows of a batch, and substitutes for samples that are bad
stall.py     waiting for them, and the sentence where they do not come back
"""
