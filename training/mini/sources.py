"""Real data for lamm-mini, from Debian packages: product photos, furniture meshes, words, fonts.

`fetch` downloads each package with apt, checks its SHA-256 and unpacks it without installing
anything. The readers below turn the unpacked trees into arrays. The held-out parts (test pictures,
meshes, words and fonts) are defined here, for training and evaluation.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

Split = Literal["train", "test"]

PRODUCTS = (
    "T-shirt", "trousers", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip

# (Debian package, SHA-256 of the bookworm .deb)
PACKAGES = {
    "dataset-fashion-mnist": "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    "sweethome3d-furniture": "3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668",
    "fonts-dejavu-core": "8892669e51aab4dc56682c8e39d8ddb7d70fad83c369344e1e240bf3ca22bb76",
    "fonts-lato": "86f50af146a7df9eca4e69f0262e73e708908435ebfa833df797adfa08843bc5",
    "fonts-liberation": "efd381517f958b01969343634ffcbdd60056be7779af84c6f53a005090430204",
    "fonts-comfortaa": "33c65e81b201177a56e6528f7ea5fd6b19f2db0bb6f4f95346b9483691851929",
    "wamerican-small": "bfebd3ce5f04a62f5fbeb6707ea1160e37d645754145138343009209f0deadb6",
}

# Catalogue names of each class; the first match wins, so the order matters.
_FURNITURE = (
    ("person", r"\b(boy|girl|male|female)\b"),
    ("bed", r"\b(bed|crib|futon)\b"),
    (
        "plant",
        r"\b(plant|tree|ficus|bamboo|cactus|flowers|orchids|tulips|lily|yucca|spathiphyllum|"
        r"acacia|pine|bush|beech|cypress|maple|poplar|peach blossom|dragon tree)\b",
    ),
    ("lamp", r"(lamp|lantern|\blight\b|chandelier|spotlight)"),
    ("sofa", r"(sofa|couch)"),
    ("chair", r"(chair|\bstool\b|class seat)"),
    ("cabinet", r"(cabinet|wardrobe|dresser|bookcase|shelves|cupboard|chest of)"),
    ("window", r"window"),
    ("door", r"\bdoor\b"),
    ("table", r"(table|\bdesk)"),
)
_NOT_FURNITURE = re.compile(
    r"(plate|remote|tennis|football|pool table|table fan|high chair|wheelchair|bedside|changing|"
    r"shutter|blind|basket|tablet|plant box|flower box|safety|glass door cabinet|futon couch|"
    r"under snow|christmas|air mattress|mannequin|class(ic)? lamppost|shower door|light switch)",
    re.IGNORECASE,
)
FURNITURE = tuple(name for name, _ in _FURNITURE)


class SourceError(RuntimeError):
    """A source package that cannot be fetched, or whose checksum differs."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """A catalogue model: `vertices` [V, 3] in metres, z up, standing on z = 0; `faces` [F, 3]."""

    name: str
    label: str
    creator: str
    vertices: npt.NDArray[np.float64]
    faces: npt.NDArray[np.int64]


def fetch(root: Path) -> None:
    """Downloads and unpacks the source packages that are missing under `root`.

    Raises:
        SourceError: apt is missing, a download failed, or a checksum differs.
    """
    root.mkdir(parents=True, exist_ok=True)
    for name, digest in tqdm(PACKAGES.items(), desc="fetching sources", unit="package"):
        if (root / f"{name}.done").is_file() and (root / f"{name}.done").read_text() == digest:
            continue
        _fetch_package(name, digest, root)


def _fetch_package(name: str, digest: str, root: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise SourceError(f"fetching the Debian package {name} needs apt-get and dpkg-deb")
    with tempfile.TemporaryDirectory(dir=root) as work:
        run = subprocess.run(  # noqa: S603 - `name` is a key of PACKAGES
            # Found on PATH, as checked above.
            ["apt-get", "-qq", "download", "-o", "APT::Sandbox::User=", name],  # noqa: S607 # nosec
            cwd=work,
            capture_output=True,
            text=True,
            check=False,
        )
        files = list(Path(work).glob("*.deb"))
        if run.returncode or not files:
            raise SourceError(
                f"apt-get download {name} failed: {run.stderr.strip()[-300:]} (try apt-get update)"
            )
        found = hashlib.sha256(files[0].read_bytes()).hexdigest()
        if found != digest:
            raise SourceError(f"{name}: SHA-256 is {found}, expected {digest}")
        unpack = ["dpkg-deb", "-x", str(files[0]), str(root / "unpacked")]
        subprocess.run(unpack, check=True)  # noqa: S603 - a file whose digest was checked above
    marker = root / f"{name}.done.tmp"
    marker.write_text(digest)
    marker.rename(root / f"{name}.done")


def products(root: Path, split: Split) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Fashion-MNIST with its own split: pictures [N, 28, 28], labels [N] indexing `PRODUCTS`."""
    folder = root / "unpacked/usr/share/datasets/fashion-mnist"
    prefix = "train" if split == "train" else "t10k"
    with gzip.open(folder / f"{prefix}-images-idx3-ubyte.gz") as stream:
        pictures = np.frombuffer(stream.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(folder / f"{prefix}-labels-idx1-ubyte.gz") as stream:
        labels = np.frombuffer(stream.read(), np.uint8, offset=8)
    return pictures, labels


def words(root: Path, split: Split) -> list[str]:
    """Lower-case English words of 3 to 6 letters; a fifth, chosen by digest, is held out."""
    text = (root / "unpacked/usr/share/dict/american-english-small").read_text(encoding="utf8")
    found = sorted({w for w in text.split() if re.fullmatch(r"[a-z]{3,6}", w)})
    return [w for w in found if (_bucket(w) == 0) == (split == "test")]


def fonts(root: Path, split: Split) -> list[Path]:
    """Upright, readable fonts; one family and two more faces are held out."""
    folder = root / "unpacked/usr/share/fonts/truetype"
    bad = re.compile(r"(Italic|Oblique|Hairline|Thin|Light|Narrow)")
    held_out = re.compile(r"(Comfortaa|DejaVuSansMono-Bold|Lato-Semibold)")
    found = [f for f in sorted(folder.glob("*/*.ttf")) if not bad.search(f.name)]
    return [f for f in found if bool(held_out.search(f.name)) == (split == "test")]


def furniture(root: Path, split: Split) -> list[Mesh]:
    """The catalogue's models of the ten classes; 30 % of each class are held out.

    Models are split by the digest of their geometry file, so that one file under two names is never
    in both splits.
    """
    found: dict[str, list[tuple[str, Mesh]]] = {name: [] for name in FURNITURE}
    for path in sorted((root / "unpacked/usr/share/sweethome3d/furniture").glob("*.sh3f")):
        with zipfile.ZipFile(path) as archive:
            for entry in _catalogue(archive).values():
                label = _furniture_label(entry.get("name", ""))
                if label is not None:
                    digest = hashlib.sha256(archive.read(entry["model"].lstrip("/"))).hexdigest()
                    found[label].append((digest, _mesh(archive, entry, label, path.stem)))
    meshes: list[Mesh] = []
    for ranked in found.values():
        digests = sorted({digest for digest, _ in ranked})
        held_out = set(digests[: round(0.3 * len(digests))])
        ranked.sort(key=lambda pair: pair[0])
        meshes += [mesh for digest, mesh in ranked if (digest in held_out) == (split == "test")]
    return meshes


def _furniture_label(name: str) -> str | None:
    if _NOT_FURNITURE.search(name):
        return None
    return next(
        (label for label, pattern in _FURNITURE if re.search(pattern, name, re.IGNORECASE)), None
    )


def _catalogue(archive: zipfile.ZipFile) -> dict[int, dict[str, str]]:
    entries: dict[int, dict[str, str]] = defaultdict(dict)
    for line in archive.read("PluginFurnitureCatalog.properties").decode("latin1").splitlines():
        if match := re.match(r"(\w+)#(\d+)=(.*)", line):
            entries[int(match[2])][match[1]] = match[3]
    return entries


def _mesh(archive: zipfile.ZipFile, entry: dict[str, str], label: str, author: str) -> Mesh:
    lines = archive.read(entry["model"].lstrip("/")).decode("latin1").splitlines()
    points = np.array(
        [[float(x) for x in line.split()[1:4]] for line in lines if line.startswith("v ")]
    )
    faces: list[tuple[int, int, int]] = []
    for line in lines:
        if line.startswith("f "):
            corner = [int(word.split("/")[0]) for word in line.split()[1:]]
            corner = [i - 1 if i > 0 else len(points) + i for i in corner]
            faces += [(corner[0], corner[k], corner[k + 1]) for k in range(1, len(corner) - 1)]
    if rotation := entry.get("modelRotation"):
        points = points @ np.array([float(x) for x in rotation.split()]).reshape(3, 3).T
    # Some models are not in centimetres: only the catalogue's width, depth and height are reliable.
    used = points[np.unique(np.array(faces))]
    low, high = used.min(0), used.max(0)
    size = np.array([float(entry[k]) for k in ("width", "height", "depth")]) / 100.0
    points = (points - (low + high) / 2) / np.maximum(high - low, 1e-9) * size
    # OBJ is y up; ours is z up: (x, y, z) -> (x, -z, y).
    points = np.stack([points[:, 0], -points[:, 2], points[:, 1] + size[1] / 2], axis=1)
    return Mesh(entry["name"], label, entry.get("creator", author), points, np.array(faces))


def _bucket(text: str, count: int = 5) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % count
