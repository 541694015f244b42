"""What a job of these tests runs in the place of `invert project`: its share of some numbers, with a file for each.

Not imported by anything, and it imports nothing heavy: a job takes a moment.
"""

import argparse
import os
import signal
import time
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("journal", type=Path)
    parser.add_argument("--shard", required=True)
    parser.add_argument("--numbers", type=int, default=8)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--hold-after", type=int, help="Numbers after which to wait while there is a file 'hold'.")
    parser.add_argument("--code", type=int, default=0)
    parser.add_argument("--of-shard", type=int, help="The one that --code and --signal are for; without, all.")
    parser.add_argument("--signal", type=int)
    arguments = parser.parse_args()
    index, count = map(int, arguments.shard.split("/"))
    print(f"shard {index}", flush=True)
    (arguments.journal / f"pid-{index}").write_text(str(os.getpid()))
    done = 0
    for number in range(index - 1, arguments.numbers, count):
        path = arguments.journal / f"number-{number}"
        if path.exists():
            continue
        time.sleep(arguments.pause)
        with path.open("a") as file:
            file.write(f"{os.getpid()}\n")
        done += 1
        while done == arguments.hold_after and (arguments.journal / "hold").exists():
            time.sleep(0.02)
    if arguments.of_shard in (None, index):
        if arguments.signal:
            os.kill(os.getpid(), signal.Signals(arguments.signal))
        return int(arguments.code)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
