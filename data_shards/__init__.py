"""Images in shards: packing them, and streaming them back in an order that can be resumed anywhere. Knows no torch.

From images to shards   readers/ are the kinds of input, remote/ files at URLs; images/ looks at one image; packing/ is
                        how a source becomes a shard set, called by pack; sample, tar, index, shard_hash and
                        shard_writer say how samples lie in a tar; manifest says what is there.
From shards to batches  order says which sample comes when (ordering/, splitmix); stream reads it (reading/); loader
                        makes batches (loading/, batch); ledger lists the samples that were bad.
For humans              called by __main__: inspect/, verify (checking/), repair/, quarantined, replay; progress, errors
"""
