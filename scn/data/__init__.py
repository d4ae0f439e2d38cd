"""The training data: from the shards in a store to the batch of every step.

sampler.py        chooses image, place and symmetry of every patch of a step
lanes.py          deals the images to the lanes of a batch
groups.py         chooses the images that are in memory together
cache.py          keeps shards on this machine's disk
image_pool.py     holds images in memory and cuts patches from them
shared_memory.py  memory that the processes of a machine share
loader.py         reads the images of a group, once for all processes of a machine
noise.py          makes noise while training
feed.py           makes the batch of a step while the next images are read
"""

from scn.data.feed import Batch, Feed, open_feed

__all__ = ["Batch", "Feed", "open_feed"]
