"""CLEVR v1.0 (Johnson et al. 2017) with two labels from its scenes, as the Visual Task Adaptation Benchmark defines them
(Zhai et al. 2019): `count`, 3 to 10 objects, and `distance`, the nearest object's depth in six ranges.

    python data_prep/clevr.py --download
"""

import json
from bisect import bisect_right

import common
from torchvision.datasets import CLEVRClassification

from repro.errors import ReproError

COUNTS = [str(n) for n in range(3, 11)]
DEPTHS = (8.0, 8.5, 9.0, 9.5, 10.0)
DISTANCES = ["below 8", "8 to 8.5", "8.5 to 9", "9 to 9.5", "9.5 to 10", "above 10"]


def main(args) -> None:
    folder = args.folder
    if args.download:
        common.downloaded(lambda: CLEVRClassification(args.folder, download=True), "CLEVR")
    for inner in ("clevr/CLEVR_v1.0", "CLEVR_v1.0"):
        folder = args.folder / inner if (args.folder / inner).is_dir() else folder
    splits = {split: scenes(folder, split) for split in ("train", "val")}
    common.finish(args, "CLEVR", splits, {"count": COUNTS, "distance": DISTANCES})


def scenes(folder, split: str) -> common.Items:
    file = folder / "scenes" / f"CLEVR_{split}_scenes.json"
    try:
        found = json.loads(file.read_text())["scenes"]
    except FileNotFoundError:
        raise ReproError(f"The scenes {file} are missing: give the folder CLEVR_v1.0 with --folder.") from None
    except (ValueError, KeyError) as e:
        raise ReproError(f"The scenes {file} cannot be read ({e}): download them again.") from e
    images, counts, distances = [], [], []
    for scene in found:
        image = folder / "images" / split / scene["image_filename"]
        if not image.is_file():
            raise ReproError(f"{file.name} names the image {image}, which is missing: complete the download.")
        images.append(image)
        counts.append(len(scene["objects"]) - int(COUNTS[0]))
        distances.append(bisect_right(DEPTHS, min(thing["pixel_coords"][2] for thing in scene["objects"])))
    if images and not (min(counts) >= 0 and max(counts) < len(COUNTS)):
        raise ReproError(f"{file.name} has a scene with fewer than 3 or more than 10 objects: it is not CLEVR's.")
    return common.Items(images, {"count": counts, "distance": distances})


if __name__ == "__main__":
    common.script("clevr", main, download=True)
