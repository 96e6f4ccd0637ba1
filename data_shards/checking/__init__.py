"""checking: is a shard set what its manifest says. The call is `data_shards.verify.verify`.

damage.py     what is wrong with one shard
accounts.py   do manifest, ledgers and directory agree with each other
members.py    the members of a sample, as they lie in a tar
verified.py   what an interrupted pass has seen already
"""
