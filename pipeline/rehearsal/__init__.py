"""`python -m pipeline rehearse`: the loader alone, before GPUs wait for it.

measure.py   runs the loader of a pretraining recipe for some seconds
verdict.py   what limits it, and what to change next
tell.py      all of it in lines
"""
