"""Flows that are watched: what a socket costs while nothing happens, and how soon one hears of the end."""

from bench.flowing.ending import end_after_last_chunk
from bench.flowing.idle import idle_sockets

FLOWING = {
    "flowing.idle_sockets": idle_sockets,
    "flowing.end_after_last_chunk": end_after_last_chunk,
}
