"""The page of `scn serve`, served to a test."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from scn.serving.app import Limits
from scn.serving.jobs import Jobs

HEADERS = {"X-SCN": "test"}
LIMITS = Limits(megapixels=0.05, upload_mib=4)


@dataclass(frozen=True, kw_only=True)
class Served:
    """A page that is served."""

    url: str
    jobs: Jobs
    params_file: Path

    def send(self, data: bytes, **query: Any) -> requests.Response:
        query = {"name": "a.png", "model": "dn-s25", **query}
        return requests.post(f"{self.url}api/jobs", params=query, data=data, headers=HEADERS, timeout=60)

    def ended(self, job_id: str) -> dict[str, Any]:
        """What is told of a job when it has ended."""
        while True:
            told = requests.get(f"{self.url}api/jobs/{job_id}", timeout=60).json()
            if told["state"] not in ("queued", "running"):
                return told
            time.sleep(0.01)

    def file(self, job_id: str, name: str) -> requests.Response:
        return requests.get(f"{self.url}api/jobs/{job_id}/{name}", timeout=60)
