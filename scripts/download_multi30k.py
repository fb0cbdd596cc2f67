"""Fill data/multi30k: image captions in German and English (Multi30k, task 1; Elliott et al. 2016).

    python scripts/download_multi30k.py                     from the data's own repository
    python scripts/download_multi30k.py --from DIR          from a folder that has the files, gzipped or not
    python scripts/download_multi30k.py --tokenized         lowercased and tokenized: what published figures use
    python scripts/download_multi30k.py --languages en fr   other languages

It writes {train,val,test_2016_flickr}.{de,en}, tokenized {train,val,test_2016_flickr}.lc.norm.tok.{de,en}. The data are
subject to the terms of the Multi30k repository (research use), and git ignores them.
"""

import argparse
import gzip
import sys
import urllib.error
import urllib.request
from pathlib import Path

SOURCE = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1"
TOKENIZED = ".lc.norm.tok"
LINES = {"train": 29_000, "val": 1_014, "test_2016_flickr": 1_000}


def read_local(folder: Path, name: str) -> bytes:
    """Read a file from a folder, gzipped or not."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            data = path.read_bytes()
            return gzip.decompress(data) if path.suffix == ".gz" else data
    sys.exit(f"{folder / name}: no such file, gzipped or not; give a folder with the Multi30k files to --from")


def read_remote(name: str) -> bytes:
    """Download a file."""
    address = f"{SOURCE}/tok/{name}" if TOKENIZED in name else f"{SOURCE}/raw/{name}.gz"
    try:
        with urllib.request.urlopen(address, timeout=60) as response:
            data: bytes = response.read()
        return gzip.decompress(data) if address.endswith(".gz") else data
    except urllib.error.URLError as error:
        sys.exit(f"{address}: {error}; get the files by other means and give their folder to --from")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="folder", type=Path, help="a folder that already has the files")
    parser.add_argument("--tokenized", action="store_true", help="the lowercased and tokenized form")
    parser.add_argument("--languages", nargs="+", default=["de", "en"], help="default: de en")
    parser.add_argument("--out", type=Path, default=Path("data/multi30k"), help="where to write (default: %(default)s)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for split, lines in LINES.items():
        for language in args.languages:
            name = f"{split}{TOKENIZED * args.tokenized}.{language}"
            data = read_local(args.folder, name) if args.folder else read_remote(name)
            found = data.count(b"\n")
            if found != lines:
                sys.exit(f"{name}: {found:,} lines where Multi30k has {lines:,}; nothing written")
            (args.out / name).write_bytes(data)
            print(f"{args.out / name}: {lines:,} lines")


if __name__ == "__main__":
    main()
