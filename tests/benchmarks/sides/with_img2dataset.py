"""img2dataset from local files, as it is with `--resize_mode no --skip_reencode True`, one process and one thread.

Its `download` starts a process for every run, so its reader, downloader and writer are called here directly: what that
process does, without the start and the logger. EXIF is not extracted, as ours is not.
"""

from __future__ import annotations

import os

from img2dataset.downloader import Downloader
from img2dataset.reader import Reader
from img2dataset.resizer import Resizer
from img2dataset.writer import WebDatasetSampleWriter

from tests.benchmarks.side import serve, sync_files


def pack(urls: str, out: str) -> int:
    """Pack the images of a list of URLs; gives how many shards it made."""
    os.makedirs(f"{out}/_tmp")
    reader = Reader(urls, "txt", "url", None, None, None, None, 10_000, set(), f"{out}/_tmp", 0)
    resizer = Resizer(
        image_size=256,
        resize_mode="no",
        resize_only_if_bigger=False,
        skip_reencode=True,
    )
    downloader = Downloader(
        sample_writer_class=WebDatasetSampleWriter,
        resizer=resizer,
        thread_count=1,
        save_caption=False,
        extract_exif=False,
        output_folder=out,
        column_list=reader.column_list,
        timeout=10,
        number_sample_per_shard=10_000,
        oom_shard_count=5,
        compute_hash="sha256",
        verify_hash_type=None,
        encode_format="jpg",
        retries=0,
        user_agent_token=None,
        disallowed_header_directives=["noai", "noimageai", "noindex", "noimageindex"],
    )
    done = [downloader(shard)[0] for shard in reader]
    assert all(done), "img2dataset failed"
    os.rmdir(f"{out}/_tmp")
    sync_files(out)
    return len(done)


if __name__ == "__main__":
    serve(pack=pack)
