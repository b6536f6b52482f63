"""Run in a process of its own: a search of a dataset, and what memory and time it took, as JSON on standard output."""

from __future__ import annotations

import json
import os
import resource
import sys
import warnings

from memory_toys import peak


def main(source: str, threads: int) -> None:
    # Before the package asks for it.
    os.cpu_count = lambda: threads
    warnings.simplefilter("ignore")
    from metad2a_plugin import MetaD2A
    from metad2a_plugin.errors import MetaD2AError

    said = ""
    try:
        MetaD2A.from_pretrained().search(source, cache_dir=False, progress=False)
    except MetaD2AError as error:
        said = str(error)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"said": said, "bytes": peak(), "seconds": used.ru_utime + used.ru_stime}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
