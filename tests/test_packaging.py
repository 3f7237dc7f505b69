"""`pip install -e .` makes importable what users and Hydra import, wherever they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from configs import REPOSITORY


def test_everything_is_importable_from_anywhere(tmp_path: Path) -> None:
    code = (
        "import dropout_sweeps, hydra_plugins.dropout_sweeps as plugin, src.train;"
        "print(src.train.__file__, plugin.__file__, dropout_sweeps.__file__, sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    paths = [Path(line).relative_to(REPOSITORY) for line in done.stdout.splitlines()]
    expected = [
        "src/train.py",
        "src/plugins/hydra_plugins/dropout_sweeps.py",
        "src/plugins/dropout_sweeps/__init__.py",
    ]
    assert [str(path) for path in paths] == expected, done.stderr


def test_the_plugins_package_stays_a_namespace() -> None:
    assert not (REPOSITORY / "src" / "plugins" / "hydra_plugins" / "__init__.py").exists()
