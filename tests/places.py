"""Where things lie that tests of several folders read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT / "tests" / "fixtures"
DOCS = ROOT / "docs"
LABEL_CONFIG = ROOT / "label_config.xml"
WAVEFORM_CONFIG = ROOT / "label_config_waveform.xml"
