"""Words that ChEF's scorers accept for a label: a frozen extract of WordNet 3.0.

A word counts if its noun lemma is a lemma of any sense of the label, of any part of speech, or if
ChEF's own list of people, boats and the like maps it to one. Phrases, which a text that is split at
spaces cannot contain, and vulgar words are left out.

WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved; its licence lets anyone
use, copy and distribute it with this notice.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Unknown to WordNet, or of two words: these are never counted.
NEVER_COUNTED = frozenset({
    "ankle boot", "diningtable", "garbagebin", "pottedplant", "showercurtain", "tvmonitor"
})  # fmt: skip

FORMS: Mapping[str, frozenset[str]] = MappingProxyType({
    label: frozenset(forms.split())
    for label, forms in {
        "T-shirt": "T-shirt jerseies jersey jerseys",
        "aeroplane": "aeroplane aeroplanes airplane airplanes plane planes",
        "airplane": "aeroplane aeroplanes airplane airplanes plane planes",
        "automobile": (
            "auto automobile automobiles autos car cars machine machines motorcar motorcars"
        ),
        "bag": (
            "bag bagful bagfuls bags base bases bulge bulges dish dishes dishs grip grips "
            "handbag handbags pocket pocketbook pocketbooks pockets purse purses suitcase "
            "suitcases udder udders"
        ),
        "bathtub": "bath baths bathtub bathtubs tub tubs",
        "bed": (
            "bed beds bottom bottoms jazzes jazzs know knows layer layers love loves retire "
            "seam seams"
        ),
        "bicycle": "bicycle bicycles bike bikes cycle cycles pedal pedals wheel wheels",
        "bird": (
            "bird birdie birdies birds birdwatch boo boos chick chicks dame dames doll dolls "
            "fowl fowls hiss hisses hisss hoot hoots hummingbird raspberries raspberry "
            "raspberrys razz razzes razzing razzings razzs shuttle shuttlecock shuttlecocks "
            "shuttles skirt skirts snort snorts wench wenches wenchs"
        ),
        "boat": "boat boats sailboat sauceboat sauceboats ship yacht",
        "bookshelf": "bookshelf bookshelfs bookshelves",
        "bottle": "bottle bottleful bottlefuls bottles",
        "bus": (
            "autobus autobuses autobuss bus busbar busbars buses buss busses charabanc "
            "charabancs coach coaches coachs double-decker double-deckers heap heaps jalopies "
            "jalopy jalopys jitneies jitney jitneys motorbus motorbuses motorbuss motorcoach "
            "motorcoaches motorcoachs omnibus omnibuses omnibuss"
        ),
        "cabinet": "cabinet cabinets console consoles locker lockers",
        "car": (
            "auto automobile automobiles autos car cars gondola gondolas machine machines "
            "motorcar motorcars railcar railcars"
        ),
        "cat": (
            "CAT CT Caterpillar cast casts cat cat-o'-nine-tails cat-o'-nine-tailses "
            "cat-o'-nine-tailss cats chuck chucks disgorge guies guy guys hombre hombres honk "
            "honks kat kats khat khats purge purges qat qats quat quats regorge regurgitate "
            "retch retches retchs sick sicks spew spue upchuck vomit vomits"
        ),
        "chair": (
            "chair chairman chairmans chairmen chairperson chairpersons chairs chairwoman "
            "chairwomans chairwomen lead leads moderate moderates president presidents "
            "professorship professorships"
        ),
        "coat": "cake cakes coat coating coatings coats pelage pelages surface surfaces",
        "counter": (
            "antagonistic anticipate buffet buffets comeback comebacks counter counterpunch "
            "counterpunches counterpunchs counters foresee forestall parries parry parrys "
            "rejoinder rejoinders replication replications retort retorts return returns "
            "riposte ripostes sideboard sideboards tabulator tabulators"
        ),
        "cow": "calf cow cows moo-cow moo-cows overawe",
        "curtain": (
            "curtain curtains drape draperies drapery draperys drapes mantle mantles pall palls"
        ),
        "deer": "cervid cervids deer deers",
        "desk": "desk desks",
        "dog": (
            "andiron andirons blackguard blackguards bounder bounders cad cads chase chases "
            "click clicks detent detents dog dog-iron dog-irons dogs firedog firedogs frank "
            "frankfurter frankfurters franks frump frumps heel heels hotdog hotdogs hound "
            "hounds pawl pawls puppy tag tags tail tails track tracks trail trails weenie "
            "weenies wiener wieners wienerwurst wienerwursts"
        ),
        "door": "door doors doorwaies doorway doorways threshold thresholds",
        "dress": (
            "apparel apparels arrange attire attires clip clips clothe clothes clotheses "
            "clothess coif coiffe coiffure coiffures coifs coives crop crops curries curry "
            "currys decorate do dos dress dresses dresss enclothe frock frocks full-dress garb "
            "garbs garment garments garnish garnishes garnishs groom grooms habilitate lop "
            "plume plumes preen primp prune prunes raiment raiments set sets snip snips tog "
            "trim trims"
        ),
        "frog": (
            "Gaul anuran anurans batrachian batrachians frog frogs salientian salientians toad "
            "toads"
        ),
        "horse": (
            "buck bucks cavalries cavalry cavalrys horse horses knight knights pony sawbuck "
            "sawbucks sawhorse sawhorses"
        ),
        "lamp": "lamp lamps",
        "motorbike": "cycle cycles minibike minibikes motorbike motorbikes motorcycle motorcycles",
        "person": (
            "baby boy child children girl guy individual individuals kayaker man men mortal "
            "mortals people person persons somebodies somebody somebodys someone someones soul "
            "souls woman women"
        ),
        "picture": (
            "characterisation characterisations characterization characterizations delineation "
            "delineations depict depiction depictions envision exposure exposures fancies fancy "
            "fancys figure figures film films flick flicks icon icons ikon ikons image images "
            "impression impressions movie movies painting paintings photo photograph "
            "photographs photos pic pics picture pictures project projects render renders scene "
            "scenes see sees show shows video videos visualise visualize word-painting "
            "word-paintings"
        ),
        "plant": (
            "constitute embed engraft establish flora florae floras found founds imbed implant "
            "implants institute institutes plant plants set sets workses workss"
        ),
        "pullover": "pullover pullovers slipover slipovers",
        "refrigerator": "icebox iceboxes iceboxs refrigerator refrigerators",
        "sandal": "sandal sandals",
        "sheep": "sheep sheeps",
        "ship": "embark send ship ships transport transports",
        "shirt": "shirt shirts",
        "sink": (
            "bury cesspit cesspits cesspool cesspools dip dips drop drops lapse lapses passes "
            "passs settle settles sink sinkhole sinkholes sinks slump slumps subside sump sumps"
        ),
        "sneaker": (
            "canaries canary canarys fink finks sneak sneaker sneakers sneaks snitch snitcher "
            "snitchers snitches snitchs stoolie stoolies stoolpigeon stoolpigeons"
        ),
        "sofa": "couch couches couchs lounge lounges sofa sofas",
        "table": (
            "board boards defer mesa mesas postpone prorogue remit remits shelve table tables "
            "tabularise tabularize tabulate"
        ),
        "toilet": (
            "bathroom bathrooms can cans commode commodes gutter gutters john johns lav "
            "lavatories lavatory lavatorys lavs pot pots potties potty pottys privies privy "
            "privys sewer sewers stool stools throne thrones toilet toilets toilette toilettes"
        ),
        "train": (
            "aim aims caravan caravans check checks civilise civilize coach coaches coachs "
            "condition conditions cultivate develop direct discipline disciplines educate gear "
            "gearing gearings gears geartrain geartrains groom grooms prepare rail rails school "
            "schools string strings take takes trail trails train trains"
        ),
        "trousers": "pant pants trouser trousers",
        "truck": "motortruck motortrucks truck trucks",
        "window": "window windowpane windowpanes windows",
    }.items()
})  # fmt: skip
