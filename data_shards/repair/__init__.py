"""repair: a damaged shard set back to what its manifest says; and a set without samples that turned out to be bad.

repair.py    what is done, in order
salvage.py   what can still be had from a damaged shard
ranges.py    which samples a shard held that left nothing
origin.py    the source once more
rebuild.py   a shard made anew, in a file of its own
apply.py     shards without the samples that the ledgers of runs name
drop.py      going on without samples, and the manifest that accounts for them
work.py      the folder in which changes are made ready
"""
