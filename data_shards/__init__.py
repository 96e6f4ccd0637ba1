"""Images in shards: packing them, and streaming them back in an order that can be resumed anywhere. Knows no torch.

From images to shards   readers/ are the kinds of input; images, jpeg and exif look at one image; examine, duplicates
                        and quarantine sort them; sample, tar, index and shard_writer say how they lie in a tar; journal
                        and durable survive a kill; manifest says what is there; pack is all of it together.
From shards to batches  order and splitmix say which sample comes when; store and stream read it; batch and loader make
                        batches; ledger lists the samples that were bad.
For humans              called by __main__: inspect and page (look), verify (damage, accounts, verified), repair
                        (members), quarantined, replay; progress; errors.
"""
