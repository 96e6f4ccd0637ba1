"""`python -m pipeline adapt`: a checkpoint and a folder of pictures into a classifier, with nothing to decide.

known.py     what counts: the pictures, the network, this machine
measure.py   how much memory a step of it takes here, and how long
guess.py     from those to settings, each with its reason
recipe.py    the settings as recipes that a reader can change and run again
command.py   all of it in order
ending.py    what came of it, and how to use it
"""
