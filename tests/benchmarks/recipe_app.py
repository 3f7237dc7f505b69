"""The book's recipe as a plain Hydra app, for Hydra's stock launchers: `recipe.yaml` is its config.

Each job leaves `result.json` in its folder: `start` and `end` of its work, in seconds since 1970.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tests.benchmarks import recipe


@hydra.main(version_base="1.3", config_path=str(Path(__file__).parent.resolve()), config_name="recipe")
def main(cfg: DictConfig) -> None:
    start = time.time()
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    rows = recipe.train(recipe.datasets(cfg.root), cfg.epochs, cfg.seed, cfg.rates, cfg.workers)
    result = {"start": start, "end": time.time(), "epochs": cfg.epochs, "rows": rows}
    folder = Path(HydraConfig.get().runtime.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
