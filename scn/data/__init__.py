"""The training data: from the shards in a store to the batch of every step.

sampler.py     chooses image, place and symmetry of every patch of a step
groups.py      chooses the images that are in memory together
cache.py       keeps shards on this machine's disk
image_pool.py  holds images in memory and cuts patches from them
noise.py       makes noise while training
feed.py        makes the batch of a step while the next images are read
"""

from scn.data.feed import Batch, Feed, open_feed

__all__ = ["Batch", "Feed", "open_feed"]
