"""The queue: how fast it is drained, how soon a job begins, what a job costs, how quick its pages are."""

from bench.queue.flatness import cost_flatness
from bench.queue.jobs import jobs_vs_arq, jobs_vs_bullmq
from bench.queue.pages import page_vs_1000
from bench.queue.round_trips import round_trips_per_job
from bench.queue.start import start_p50_ms, start_vs_blpop

QUEUE = {
    "queue.jobs_vs_arq": jobs_vs_arq,
    "queue.jobs_vs_bullmq": jobs_vs_bullmq,
    "queue.start_p50_ms": start_p50_ms,
    "queue.start_vs_blpop": start_vs_blpop,
    "queue.round_trips_per_job": round_trips_per_job,
    "queue.cost_flatness": cost_flatness,
    "records.page_vs_1000": page_vs_1000,
}
