"""What is made of files while somebody waits, and how fast it is sent once it was."""

from bench.delivery.hits import hit_vs_nginx
from bench.delivery.misses import miss_vs_pyvips

DELIVERY = {
    "delivery.hit_vs_nginx": hit_vs_nginx,
    "delivery.miss_vs_pyvips": miss_vs_pyvips,
}
