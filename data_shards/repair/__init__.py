"""repair: a damaged shard set back to what its manifest says.

repair.py    what is done, in order
salvage.py   what can still be had from a damaged shard
ranges.py    which samples a shard held that left nothing
origin.py    the source once more
rebuild.py   a shard made anew, in a file of its own
drop.py      going on without what cannot be had
"""
