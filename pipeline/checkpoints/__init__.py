"""Checkpoints that prove themselves: written whole or not at all, hashed, found again, read on any number of processes.

store.py         save, find, restore: what the rest of the pipeline calls
saver.py         saves while training goes on; a copy of the state (staging.py), then a second thread
├── pieces.py    which process writes which piece of the state (state.py)
├── part.py      the file of one process, hashed while it is written
└── commit.py    the parts of all made a checkpoint; retention.py says which others stay
tensorwise.py    tensors that lie elsewhere into a checkpoint, a few rows at a time
reader.py        reads pieces into tensors sharded in any way; first_format.py reads the first format, safely
manifest.py      what lies where, and what a checkpoint says of itself
verify.py        files against the manifest, tensors against the root (content.py, tensors.py)
command.py       python -m pipeline checkpoint verify|list|diff|consolidate
generators.py, values.py, job.py    random states, what is no tensor, messages between processes
"""
