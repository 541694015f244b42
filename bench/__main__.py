"""Run every benchmark in turn: `make bench`."""

from bench import operators, projection_step, stylegan3_step, training_step

for benchmark in (projection_step, training_step, operators, stylegan3_step):
    benchmark.main()
    print()
