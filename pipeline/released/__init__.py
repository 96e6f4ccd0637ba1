"""Weights in and out.

sources.py       a name, URL, model of the hub or file -> a file here: catalog.py, download.py, hub.py
readers/         what a file holds, opened without trusting it
described.py     what is said beside it: preprocessing, classes, licence; imagenet.py has ImageNet-1k's classes
imported.py      the network in a file, under our names
layouts/         what each library calls the tensors of a RegNet, both ways
architecture.py  which RegNet a set of shapes is
accounting.py    every tensor of a file: taken, left out with a reason, or named in an error
backbones.py     the backbone and the classifier inside a checkpoint of this pipeline
safetensors.py   a backbone, and a classifier if there is one, as one safetensors file that describes itself
writers/         the same for other libraries: written, opened again through each, and compared
lineage.py       what is behind a checkpoint, down to the hashes of the shards
card.py          the model card
"""
