"""How patches come: from the shards in a store to the batch of every step.

sampler.py     which image, place and symmetry each patch of a step has
groups.py      which images are in memory together
cache.py       shards on this machine's disk
image_pool.py  images in memory, and the patches that are cut from them
noise.py       noise that is made while training
feed.py        the batch of a step, and what is read meanwhile
"""

from scn.data.feed import Batch, Feed, open_feed

__all__ = ["Batch", "Feed", "open_feed"]
