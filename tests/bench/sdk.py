"""What one would write without this program: the vendor's SDK, called from threads.

    python -m tests.bench.sdk URL REQUESTS THREADS

Prints the seconds that the requests took.
"""

from __future__ import annotations

import sys
import threading
import time

from genauth import ManagementClient

from tests.bench.bare import CHUNK


def main() -> None:
    url, requests, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    client = ManagementClient(access_key_id="id", access_key_secret="secret", host=url)
    ids = [f"{number:024x}" for number in range(CHUNK)]

    def repeat(count: int) -> None:
        for _ in range(count):
            answer = client.delete_users_batch(user_ids=ids, options={"userIdType": "user_id"})
            if answer["statusCode"] != 200:
                raise RuntimeError("not deleted")

    repeat(1)  # signs in
    workers = [threading.Thread(target=repeat, args=(requests // threads,)) for _ in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print((time.perf_counter() - started) * requests / (requests // threads * threads))


if __name__ == "__main__":
    main()
