"""Tells Prometheus when each flow was last completed, and if Prefect answers; no metrics of Prefect's or Ray's do.

python -m flows.metrics --port 8081        PREFECT_API_URL names the server, which is asked at each scrape

A flow that has never been completed has no line, and none has one while the server does not answer.
"""

import argparse
import os
import sys
import threading
from collections.abc import Iterator

from scn.core.pipeline import pipeline_needed

with pipeline_needed("flows"):
    from prometheus_client import start_http_server
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import Collector, CollectorRegistry

NAME = "scn_flow_last_completed_timestamp_seconds"
ANSWERS = "scn_prefect_answers"


class LastCompleted(Collector):
    """The metric NAME, with the flow's name as its label, and ANSWERS."""

    def describe(self) -> list[GaugeMetricFamily]:
        """The metrics without their values: a registry asks for them before there is a server to ask."""
        return [self._answers(), self._family()]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The metrics; a server that does not answer is told, as a scrape that fails would blame the worker."""
        from httpx import HTTPError  # Prefect's client lets its errors through

        try:
            family = self._asked()
        except (RuntimeError, HTTPError):
            yield self._answers(0)
            return
        yield self._answers(1)
        yield family

    def _asked(self) -> GaugeMetricFamily:
        """The metric NAME, as the server tells it."""
        from prefect import get_client
        from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
        from prefect.client.schemas.filters import FlowRunFilterState as InState
        from prefect.client.schemas.filters import FlowRunFilterStateType as OfType
        from prefect.client.schemas.objects import StateType
        from prefect.client.schemas.sorting import FlowRunSort

        family = self._family()
        completed = FlowRunFilter(state=InState(type=OfType(any_=[StateType.COMPLETED])))
        with get_client(sync_client=True) as client:
            for flow in client.read_flows():
                newest = client.read_flow_runs(
                    flow_filter=FlowFilter(name=FlowFilterName(any_=[flow.name])),
                    flow_run_filter=completed,
                    sort=FlowRunSort.END_TIME_DESC,
                    limit=1,
                )
                if newest and newest[0].end_time:
                    family.add_metric([flow.name], newest[0].end_time.timestamp())
        return family

    @staticmethod
    def _answers(value: float | None = None) -> GaugeMetricFamily:
        return GaugeMetricFamily(ANSWERS, "1 if Prefect's server answers the worker, 0 if not.", value=value)

    @staticmethod
    def _family() -> GaugeMetricFamily:
        return GaugeMetricFamily(NAME, "When a run of the flow was last completed.", labels=["flow"])


def main(arguments: list[str] | None = None) -> int:
    """Serves the metric until the process is ended; returns status 1 if no server is named."""
    parser = argparse.ArgumentParser(prog="python -m flows.metrics", description="When each flow was last completed.")
    parser.add_argument("--port", type=int, default=8081, help="port to listen on (default: 8081)")
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    options = parser.parse_args(arguments)
    if not os.environ.get("PREFECT_API_URL"):
        print("flows: PREFECT_API_URL is not set: let it name a Prefect server.", file=sys.stderr)
        return 1
    # Before Prefect is imported: the answer is to come within the 10 s that a scrape waits.
    os.environ |= {"PREFECT_CLIENT_MAX_RETRIES": "0", "PREFECT_API_REQUEST_TIMEOUT": "5"}
    registry = CollectorRegistry()
    registry.register(LastCompleted())
    start_http_server(options.port, options.address, registry)
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
