"""Exact search by faiss's flat index of squared Euclidean distances.

Searches the vectors of one safetensors file (tensor "vectors", items x
dimensions) for the nearest of another's. One JSON object on standard output:
versions, seconds of each search.

    python faiss_flat.py --gallery gallery.safetensors --queries queries.safetensors --k 10 \
        --outputs neighbours.safetensors --runs 5 --threads 2
"""

import argparse
import json
import time

import faiss
from safetensors.numpy import load_file, save_file


def options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gallery", required=True)
    parser.add_argument("--queries", required=True)
    parser.add_argument("--k", type=int, required=True, help="neighbours of each query")
    parser.add_argument(
        "--outputs", required=True, help="safetensors file for ids and squared distances"
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main():
    given = options()
    faiss.omp_set_num_threads(given.threads)
    vectors = load_file(given.gallery)["vectors"]
    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(vectors)
    del vectors
    queries = load_file(given.queries)["vectors"]
    seconds = []
    # The first search warms up.
    for run in range(given.runs + 1):
        start = time.perf_counter()
        squared, ids = index.search(queries, given.k)
        if run > 0:
            seconds.append(time.perf_counter() - start)
    save_file({"ids": ids, "squared": squared}, given.outputs)
    versions = {"faiss": faiss.__version__, "compiled for": faiss.get_compile_options().strip()}
    timing = {"runs": seconds, "peak_mib": None, "before_mib": None}
    print(json.dumps({"versions": versions, "timing": timing}))


if __name__ == "__main__":
    main()
