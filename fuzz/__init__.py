"""Malformed inputs and lying devices for every command of edgegd: seeded, each repeatable by its name.

    python -m fuzz --seed 0                      everything
    python -m fuzz --seed 0 --for-s 90           as many cases as 90 seconds hold, of every kind
    python -m fuzz --seed 0 --case recipes-17    one case again, with its input and its output kept

Every case runs the real `main()` in a fork of a process that has imported torch, Ultralytics and onnxruntime, on a
private copy of a finished run, without a network. docs/fuzzing.md says what counts as a fault.
"""
