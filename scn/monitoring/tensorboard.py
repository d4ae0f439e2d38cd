"""TensorBoard's event files, written with tensorboardX's protocol buffers and RecordWriter.

Its SummaryWriter is not used: it hands events to a thread, which ends when the disk is full; the next caller then waits
for ever. Here an error is raised where it happens, and a point can be seen at once.
"""

import io
import time
from collections.abc import Mapping
from pathlib import Path

from PIL import Image as Pillow
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

from scn.shards.samples import Image


class EventFile:
    """A new event file in `folder`, which is made if needed. Every method raises OSError if the disk fails."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._records = RecordWriter(str(folder / f"events.out.tfevents.{time.time():.0f}.scn"))
        self._write(Event(file_version="brain.Event:2"))
        self.flush()

    def add(self, step: int, scalars: Mapping[str, float], images: Mapping[str, Image]) -> None:
        """Adds the points of `step` as one record; `flush` puts it on the disk.

        Args:
            scalars: name of a curve -> value.
            images: name -> uint8 (H, W) or (H, W, 3).
        """
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        values += [Summary.Value(tag=tag, image=_encoded(image)) for tag, image in images.items()]
        self._write(Event(step=step, summary=Summary(value=values)))

    def flush(self) -> None:
        """Waits until the disk has what was added, which takes milliseconds."""
        self._records.flush()

    def close(self) -> None:
        """Closes the file."""
        self._records.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())


def _encoded(image: Image) -> Summary.Image:
    png = io.BytesIO()
    Pillow.fromarray(image).save(png, "PNG")
    height, width, channels = (*image.shape, 1)[:3]
    return Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png.getvalue())
