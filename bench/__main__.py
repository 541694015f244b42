"""Run every benchmark in turn: `make bench`."""

from bench import operators, projection_step, training_step

for benchmark in (projection_step, training_step, operators):
    benchmark.main()
    print()
