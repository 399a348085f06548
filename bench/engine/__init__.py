"""The image engine, each promise of it beside named peers."""

from bench.engine.avif import avif_vs_default
from bench.engine.cascade import cascade_psnr_db
from bench.engine.children import children_scaling
from bench.engine.end_to_end import end_to_end_vs_pyvips
from bench.engine.fanout import fanout_vs_three_thumbnails
from bench.engine.fusion import fusion_speedup
from bench.engine.loop_lag import loop_lag_p99_ms
from bench.engine.memory import memory_vs_estimate, peak_memory_mib
from bench.engine.sandboxed import sandbox_vs_in_process
from bench.engine.thumbnail import thumbnail_vs_pyvips
from bench.engine.watermark import watermark_vs_full

ENGINE = {
    "engine.thumbnail_vs_pyvips": thumbnail_vs_pyvips,
    "engine.fanout_vs_three_thumbnails": fanout_vs_three_thumbnails,
    "engine.watermark_vs_full": watermark_vs_full,
    "engine.avif_vs_default": avif_vs_default,
    "engine.fusion_speedup": fusion_speedup,
    "engine.cascade_psnr_db": cascade_psnr_db,
    "engine.peak_memory_mib": peak_memory_mib,
    "engine.memory_vs_estimate": memory_vs_estimate,
    "engine.sandbox_vs_in_process": sandbox_vs_in_process,
    "engine.children_scaling": children_scaling,
    "engine.loop_lag_p99_ms": loop_lag_p99_ms,
    "engine.end_to_end_vs_pyvips": end_to_end_vs_pyvips,
}
