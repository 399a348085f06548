"""One worker process of each queue engine: `python -m bench.workers.NAME work|send SOCKET JOBS [PAUSE]`.

`work` does no-op jobs until it is killed and tells what it spent on the first so many; `send` enqueues so many, all at
once or with pauses of about so many seconds. Nothing here may import more than its engine brings along.
"""
