"""Arriving bytes: how fast they are taken in beside others who only store them, and what that needs."""

from bench.ingest.dialects import dialects_vs_native
from bench.ingest.idle import idle_mib
from bench.ingest.large import big_vs_nginx
from bench.ingest.memory import rss_mib
from bench.ingest.s3 import s3_cpu_vs_aioboto3
from bench.ingest.small import small_vs_nginx

INGEST = {
    "ingest.big_vs_nginx": big_vs_nginx,
    "ingest.small_vs_nginx": small_vs_nginx,
    "ingest.dialects_vs_native": dialects_vs_native,
    "ingest.rss_mib": rss_mib,
    "ingest.idle_uploads_mib": idle_mib,
    "ingest.s3_cpu_vs_aioboto3": s3_cpu_vs_aioboto3,
}
