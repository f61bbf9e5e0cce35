"""Arrays of JAX on eight devices, which a process has to ask for before it imports JAX."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jax")


def test_arrays_stay_on_their_devices():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    script = Path(__file__).with_name("sharded_arrays.py")
    subprocess.run([sys.executable, script], env=os.environ | flags, check=True, timeout=300)
