"""packing: from a source of images to a shard set. The call is `data_shards.pack.pack`.

settings.py               how images are looked at, treated and packed
folder.py                 the work folder that all processes of a packing share
listing.py                the list of the source, in slices        lease.py   one holder for a piece of work
workers.py                processes that take slices               slice_packer.py   one slice, packed
examine.py                reads, hashes, checks and treats each image, by several threads, in order
journal.py, records.py    how far a slice came; what is remembered of each accepted image
quarantine.py             what was rejected
duplicates.py, near.py    equal and similar images across slices   drops.py   what is to be dropped, by slice
excluded.py               the images of other sets, which shall not be packed
finish.py                 slices become a shard set               target.py  where it goes: a directory or a URL
"""
