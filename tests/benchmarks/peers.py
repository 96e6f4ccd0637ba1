"""Environments of the tools we are measured against, made with pip on first use, below `~/.cache/data_shards/peers`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from data_shards.durable import write_durably

CACHE = Path("~/.cache/data_shards/peers").expanduser()

# img2dataset does not bound the versions it needs: albumentations 1 with any pyarrow wants this numpy.
REQUIREMENTS = {
    "img2dataset": ("img2dataset==1.47.0", "numpy>=2,<2.3"),
    "lightly": ("lightly==1.6.0",),
    "albumentationsx": ("albumentationsx==2.5.1", "opencv-python-headless"),
    "dali": ("nvidia-dali-cuda120==2.4.0",),
    "litdata": ("litdata==0.2.76",),
    "streaming": ("mosaicml-streaming==0.13.0",),
}
ALONE = {"img2dataset"}
"""Environments that do not see the packages of ours; the others find torch, Pillow and NumPy there, as we do."""


def python_of(name: str) -> Path:
    """The interpreter of a peer's environment, which is made where it is not there yet. Raises `CalledProcessError`."""
    folder, wanted = CACHE / name, "\n".join(REQUIREMENTS[name])
    made, python = folder / "requirements.txt", folder / "bin" / "python"
    if not made.exists() or made.read_text() != wanted:
        print(f"making {folder} …", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        if name not in ALONE:
            ours, theirs = (_packages_of(which) for which in (sys.executable, python))
            (theirs / "ours.pth").write_text(f"{ours}\n")
        install = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *REQUIREMENTS[name]]
        subprocess.run(install, check=True)
        write_durably(made, wanted.encode())
    return python


def _packages_of(python: Path | str) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip())


def versions_of(python: Path | str, *packages: str) -> dict[str, str]:
    """The versions of some packages in an environment."""
    code = "import importlib.metadata as m, json, sys; print(json.dumps({p: m.version(p) for p in sys.argv[1:]}))"
    found = subprocess.run([python, "-c", code, *packages], check=True, capture_output=True, text=True)
    versions: dict[str, str] = json.loads(found.stdout)
    return versions
