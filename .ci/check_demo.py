"""Checks that the demo models beat their inputs by what the project promises, on every evaluation set."""

import json
import sys
from pathlib import Path

GAIN_DB = {"sr-x2": 1.0, "dn-s25": 7.0, "car-q10": 0.5}

failed = False
for experiment, least in GAIN_DB.items():
    sets = json.loads(Path("metrics", f"{experiment}.json").read_text())
    for name, figures in sets.items():
        gain = figures["model"]["psnr"] - figures["input"]["psnr"]
        better = figures["ensemble"]["psnr"] >= figures["model"]["psnr"]
        print(f"{experiment} on {name}: {gain:+.2f} dB, at least {least:+.1f} is asked; self-ensemble adds: {better}")
        failed |= gain < least or not better
sys.exit(failed)
