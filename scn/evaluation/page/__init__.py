"""The report as one HTML file that needs nothing besides itself: `scn report --html FILE`."""
