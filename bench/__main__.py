"""Run every benchmark in turn: `make bench`."""

from bench import projection_step

projection_step.main()
