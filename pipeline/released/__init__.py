"""Weights in and out.

backbones.py     the backbone inside a checkpoint of this pipeline
safetensors.py   a backbone, and a classifier if there is one, as one safetensors file that describes itself
"""
