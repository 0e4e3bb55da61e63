"""COCO 2017 (Lin et al. 2014): its images and annotations as the detectors of notebook 08 read them, checked and linked.

FOLDER holds train2017/, val2017/ and annotations/, or the official archives train2017.zip, val2017.zip and
annotations_trainval2017.zip, which are unpacked beside themselves. Nothing is copied: --out is a link to FOLDER.

    python data_prep/coco.py --folder COCO
"""

import common

from repro.data import coco
from repro.errors import ReproError

ARCHIVES = {"train2017": "train2017.zip", "val2017": "val2017.zip", "annotations": "annotations_trainval2017.zip"}


def main(args) -> None:
    for folder, archive in ARCHIVES.items():
        if not (args.folder / folder).is_dir() and (args.folder / archive).is_file():
            common.unpack(args.folder / archive, args.folder, folder)
    missing = [f"{name}/ (or {archive})" for name, archive in ARCHIVES.items() if not (args.folder / name).is_dir()]
    if missing:
        raise ReproError(f"{args.folder} lacks {', '.join(missing)}: complete the download, or give another --folder.")
    for split in coco.SPLITS:
        for kind in coco.KINDS:
            found = coco.read(args.folder, split, kind)
            expect = EXPECT[split] if len(found.categories) == COCOS else len(found)
            if len(found) != expect:
                raise ReproError(f"COCO has {expect} images in {split}2017, but {found.file.name} lists {len(found)}.")
            count = sum(map(len, found.objects.values()))
            print(f"{found.file}: {len(found)} images, {count} objects, {common.checksum(found.file)[:12]}")
    if args.out.resolve() != args.folder.resolve():
        if args.out.is_symlink():
            args.out.unlink()
        elif args.out.exists():
            raise ReproError(f"{args.out} is there already and no link: move it away, or choose another --out.")
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.symlink_to(args.folder.resolve(), target_is_directory=True)


EXPECT = {"train": 118_287, "val": 5_000}
COCOS = 80  # categories by which COCO is told from other sets of its format

if __name__ == "__main__":
    common.script("coco", main)
