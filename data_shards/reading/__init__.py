"""reading: bytes of samples, wherever their shards lie. `data_shards.stream.ShardSet` is made of it.

store.py          bytes out of tars, by offset, for many threads at once
tars.py           the tars of a manifest: of a directory or a URL       plain_tars.py   anyone's, without one
labels.py         the labels of many samples, read by regions
cache.py          shards from a URL, on the node's disk before they are needed
cache_folder.py   its folder, which processes share       fetch.py   a shard into it: downloaded, and its hash checked
"""
