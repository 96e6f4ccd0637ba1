"""Checkpoints that can be trusted: written whole or not at all, hashed, found again, read on any number of processes.

store.py    save, latest, verify, restore: directories of torch.distributed.checkpoint files with a manifest of hashes
state.py    what goes in: an objective's and an optimizer's tensors under names that do not depend on sharding
tensors.py  one hash over named tensors, the same for the same values however they were saved
"""
