"""Compiled JAX programs kept between runs, so that a stage starts in tenths of a second instead of seconds.

For those who run a program, not for the library: importing this package changes no setting of JAX.
"""

import os
from pathlib import Path

import jax
import platformdirs


def keep() -> None:
    """Keep every program compiled from here on in the user's cache directory, and take it from there the next time.

    $SPIKEVAEDIFF_CACHE chooses another place, as for assets; a JAX_COMPILATION_CACHE_DIR set by the user is respected.
    JAX keys a program by its code, its version and the processor; results do not change.
    """
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        chosen = os.environ.get("SPIKEVAEDIFF_CACHE")
        folder = Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("spikevaediff"))
        jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
    # By default only what took a second to compile is kept; here many programs take a quarter.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
