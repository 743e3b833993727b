"""Word forms that upstream's scorer accepts for a label: a frozen extract of WordNet 3.0.

A form counts for a label if WordNet's morphology (`morphy`, for nouns, verbs, adjectives and
adverbs in turn) maps it to a lemma of the label's first sense; "can" is excluded as a stop word.
Extracted from WordNet's files, including forms that are not in use.

WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved; its licence lets anyone
use, copy and distribute it with this notice.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Unknown to WordNet, two words, or a name only: these are never counted.
NEVER_COUNTED = frozenset({
        "diningtable", "garbagebin", "grey", "night stand", "pottedplant", "showercurtain",
    "showercurtrain", "tvmonitor", "whiteboard"
})  # fmt: skip

FORMS: Mapping[str, frozenset[str]] = MappingProxyType({
    label: frozenset(forms.split())
    for label, forms in {
        "airplane": (
            "aeroplane aeroplanes airplane airplanes plane planed planeed planeer planees "
            "planeest planeing planes planest planing"
        ),
        "automobile": (
            "auto automobile automobiled automobileed automobilees automobileing automobiles "
            "automobiling autos car cars machine machined machineed machinees machineing machines "
            "machining motorcar motorcars"
        ),
        "bird": "bird birded birdes birding birds",
        "cat": "cat cated cates cating cats catted catting",
        "deer": "cervid cervids deer deers",
        "dog": "dog doged dogged dogging doging dogs",
        "frog": (
            "anuran anuraner anuranest anurans batrachian batrachianer batrachianest batrachians "
            "frog froged froges frogged frogging froging frogs salientian salientianer "
            "salientianest salientians toad toads"
        ),
        "horse": "horse horsed horseed horsees horseing horses horsing",
        "ship": "ship shiped shipes shiping shipped ships",
        "truck": "motortruck motortrucks truck trucked truckes trucks",
        "aeroplane": (
            "aeroplane aeroplanes airplane airplanes plane planed planeed planeer planees "
            "planeest planeing planes planest planing"
        ),
        "bicycle": (
            "bicycle bicycled bicycleed bicyclees bicycleing bicycles bike biked bikeed bikees "
            "bikeing bikes biking cycle cycled cycleed cyclees cycleing cycles wheel wheeled "
            "wheeles wheels"
        ),
        "boat": "boat boated boates boats",
        "bottle": "bottle bottled bottleed bottlees bottleing bottles bottling",
        "bus": (
            "autobus autobuses autobuss bus bused buses busing busses charabanc charabancs coach "
            "coached coaches coachs double-decker double-deckers jitneies jitney jitneys motorbus "
            "motorbuses motorbuss motorcoach motorcoaches motorcoachs omnibus omnibuser omnibuses "
            "omnibusest omnibuss"
        ),
        "car": (
            "auto automobile automobiled automobileed automobilees automobileing automobiles "
            "automobiling autos car cars machine machined machineed machinees machineing machines "
            "machining motorcar motorcars"
        ),
        "chair": "chair chaired chaires chairing chairs",
        "cow": "cow cowed cowes cowing moo-cow moo-cows",
        "motorbike": (
            "minibike minibikes motorbike motorbiked motorbikeed motorbikees motorbikeing "
            "motorbikes motorbiking"
        ),
        "person": (
            "individual individualer individualest individuals mortal mortaler mortalest mortals "
            "person persons somebodies somebody somebodys someone someones soul souls"
        ),
        "sheep": "sheep sheeps",
        "sofa": (
            "couch couched couches couching couchs lounge lounged loungeed loungees loungeing "
            "lounges lounging sofa sofas"
        ),
        "train": "train trained traines trains",
        "cabinet": "cabinet cabinets",
        "bed": "bed bedded beded beding beds",
        "table": "table tabled tableed tablees tableing tables tabling",
        "door": "door doors",
        "window": "window",
        "bookshelf": "bookshelf bookshelfs bookshelves",
        "picture": (
            "icon icons ikon ikons image imaged imageed imagees imageing images picture pictured "
            "pictureed picturees pictureing pictures"
        ),
        "counter": "counter countered counterer counteres counterest countering counters",
        "desk": "desk desks",
        "curtain": (
            "curtain curtained curtaines curtaining curtains drape draped drapeed drapees "
            "drapeing draperies drapery draperys drapes draping mantle mantled mantleed mantlees "
            "mantleing mantles mantling pall palles palls"
        ),
        "refrigerator": "icebox iceboxes iceboxs refrigerator refrigerators",
        "toilet": (
            "bathroom bathrooms canned canning cans john lav lavatories lavatory lavatorys lavs "
            "privier privies priviest privy privyer privyest privys toilet toilets"
        ),
        "sink": "sank sink sinked sinkes sinks sunk sunken",
        "bathtub": "bath baths bathtub bathtubs tub tubs",
        "black": (
            "black blacked blacker blackes blackest blackness blacknesses blacknesss blacks "
            "inkiness inkinesses inkinesss"
        ),
        "blond": "blond blonde blondeer blondeest blonder blondes blondest blonds",
        "blonde": "blond blonde blondeer blondeest blonder blondes blondest blonds",
        "brown": "brown browned browner brownest brownness brownnesses brownnesss browns",
        "gray": (
            "graies gray grayed grayer grayes grayest graying grayness graynesses graynesss grays "
            "greies grey greyed greyer greyes greyest greying greyness greynesses greynesss greys"
        ),
        "dresser": "bureau bureaus bureaux chest chests dresser dressers",
        "pillow": "pillow pillowed pillowes pillowing pillows",
        "mirror": "mirror mirrored mirrores mirroring mirrors",
        "box": "box boxed boxes boxs",
        "monitor": (
            "monitor monitored monitores monitors proctor proctored proctores proctoring proctors"
        ),
        "shelf": "shelf shelfs shelves",
        "television": "telecasting telecastings television televisions video videos",
        "lamp": "lamp lamps",
        "couch": (
            "couch couched couches couching couchs lounge lounged loungeed loungees loungeing "
            "lounges lounging sofa sofas"
        ),
        "trouser": "pant panted pantes trouser trousers",
        "pullover": "pullover pullovers slipover slipovers",
        "dress": (
            "dress dressed dresses dressest dresss frock frocked frockes frocking frocks"
        ),
        "coat": "coat coated coates coats",
        "sandal": "sandal sandals",
        "shirt": "shirt shirted shirtes shirts",
        "sneaker": "sneaker sneakers",
        "bag": "bag baged bages bagged baging bags",
        "boot": "boot booted booting boots",
        "bench": "bench benched benches benching benchs",
        "wardrobe": (
            "closet closeted closetes closeting closets press pressed presses presss wardrobe "
            "wardrobes"
        ),
        "bookcase": "bookcase bookcases",
        "armchair": "armchair armchairs",
        "stool": "stool stooled stooles stooling stools",
        "piano": (
            "forte-piano forte-pianos piano pianoer pianoest pianoforte pianofortes pianos"
        ),
        "plant": "plant planted plantes plants works workses workss",
        "vase": "vase vases",
        "clock": "clock clocked clockes",
        "keyboard": "keyboard keyboards",
        "laptop": "laptop laptops",
    }.items()
})  # fmt: skip
