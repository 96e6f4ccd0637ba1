"""loading: the threads behind `data_shards.loader.Loader`.

workers.py   threads that say what they hold
rows.py      the rows of a batch, and substitutes for samples that are bad
stall.py     waiting for them, and the sentence where they do not come back
"""
