"""A folder that stands for a store on another machine, and records what is read of it."""

from pathlib import Path

from scn.storage.local import FileStore


class FarStore(FileStore):
    """A store whose shards are worth a copy on this machine; `asked` are the keys that were read, in order."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked: list[str] = []

    def get(self, key: str) -> bytes:
        self.asked.append(key)
        return super().get(key)

    def shares_disk_with(self, folder: Path) -> bool:
        return False
