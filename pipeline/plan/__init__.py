"""`python -m pipeline plan RECIPE`: what a training will take, before it runs.

pretended.py   a job of any number of processes, pretended by this one
assembled.py   the objective as one of them would hold it: sharded, without memory
state.py       bytes of weights, gradients and optimizer, on a process and in a checkpoint
peak.py        a step of it, and how many bytes are alive meanwhile (memory.py)
work.py        multiply-adds
length.py      steps, samples, learning rate
planned.py     all of it, and what looks wrong (concerns.py)
tell.py        in lines
"""
