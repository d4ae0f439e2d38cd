"""Whether several processes may publish to a store at once."""

import sys

from scn.storage.base import Store, StoreLacks


def check_writers(store: Store, *, single: bool, publishing: bool = True) -> None:
    """Tells or refuses that several publishers at once would not be safe in a store.

    Args:
        single: the user has said that there is only one (storage.single_writer).
        publishing: versions are to be written now; False: later, so that it is told only.
    Raises:
        StoreLacks: if versions are to be written now, and there may be several writers.
    """
    if not (why := store.lacks()):
        return
    if single:
        sentence = f"{store.url} is safe with one publisher only ({why}), as storage.single_writer says that there is."
    else:
        sentence = (
            f"{store.url} can't be published to, as two publishers at once would mix their files ({why}): use another "
            "service (`scn store check` shows what this one does), or set storage.single_writer if there is only one."
        )
        if publishing:
            raise StoreLacks(sentence)
    print(sentence, file=sys.stderr)
