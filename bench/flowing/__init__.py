"""Flows that are watched: what sockets and readers cost while nothing happens, and how soon one hears of the end."""

from bench.flowing.ending import end_after_last_chunk
from bench.flowing.idle import idle_sockets
from bench.flowing.readers import idle_readers

FLOWING = {
    "flowing.idle_sockets": idle_sockets,
    "flowing.idle_readers": idle_readers,
    "flowing.end_after_last_chunk": end_after_last_chunk,
}
