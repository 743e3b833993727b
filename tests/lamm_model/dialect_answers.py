"""Answers of other models: published outputs, public samples, and formats filled in by us."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from lamm_model.tasks.reading.final import final_answer

SIZE = (1000, 500)


class Origin(StrEnum):
    """Where a text is from."""

    OUTPUT = "a model's output, as published"
    SAMPLE = "a sample in public code, documentation or training data"
    OURS = "the documented format, filled in by us"


@dataclass(frozen=True, slots=True)
class Recorded:
    """An answer, and the label and numbers of each of its places.

    Numbers are shares of a picture of `SIZE`, or metres and a yaw. Labels are empty in a text that
    names no object.
    """

    dialect: str
    origin: Origin
    source: str
    text: str
    places: Sequence[tuple[str, tuple[float, ...]]]

    @property
    def answer(self) -> str:
        """The text as tasks hand it to a dialect."""
        return final_answer(self.text)

    @property
    def has_labels(self) -> bool:
        """Whether the text names its objects."""
        return all(label for label, _ in self.places)

    @property
    def labels(self) -> tuple[str, ...]:
        """The closed set of its objects."""
        return tuple(dict.fromkeys(label.removeprefix("a ") for label, _ in self.places))

    def __str__(self) -> str:
        return f"{self.dialect}: {self.source}"


RECORDED = (
    Recorded(
        "qwen3-vl", Origin.OUTPUT, "Qwen3-VL-235B, QwenLM/Qwen3-VL issue 2020",
        '[\n    {"bbox_2d": [323, 118, 444, 825], "label": "watch"},\n'
        '    {"bbox_2d": [444, 118, 565, 825], "label": "watch"},\n'
        '    {"bbox_2d": [565, 118, 686, 825], "label": "watch"},\n'
        '    {"bbox_2d": [686, 118, 807, 825], "label": "watch"}\n]',
        [("watch", (0.323, 0.118, 0.444, 0.825)), ("watch", (0.444, 0.118, 0.565, 0.825)),
         ("watch", (0.565, 0.118, 0.686, 0.825)), ("watch", (0.686, 0.118, 0.807, 0.825))],
    ),
    Recorded(
        "qwen3-vl", Origin.OUTPUT,
        'GLM-4.6V, andyluo7/andyluo7.github.io, '
        '_posts/2025-12-09-run-glm-4-6v-on-amd-mi300x-with-vllm.md',
        '\nThe list of cat breeds and their bounding box coordinates '
        'in the required JSON format is '
        '<|begin_of_box|>[{"label": "American Shorthair-1", "bbox_2d": [109, 152, 193, 822]}, '
        '{"label": "American Shorthair-2", "bbox_2d": [191, 331, 311, 852]}, '
        '{"label": "American Shorthair-3", "bbox_2d": [299, 347, 434, 899]}, '
        '{"label": "Domestic Shorthair-1", "bbox_2d": [422, 523, 516, 913]}, '
        '{"label": "American Shorthair-4", "bbox_2d": [505, 257, 609, 852]}, '
        '{"label": "American Shorthair-5", "bbox_2d": [606, 445, 710, 855]}, '
        '{"label": "Maine Coon-1", "bbox_2d": [696, 92, 819, 822]}, '
        '{"label": "American Shorthair-6", "bbox_2d": [808, 473, 886, 825]}]<|end_of_box|>.',
        [("American Shorthair-1", (0.109, 0.152, 0.193, 0.822)),
         ("American Shorthair-2", (0.191, 0.331, 0.311, 0.852)),
         ("American Shorthair-3", (0.299, 0.347, 0.434, 0.899)),
         ("Domestic Shorthair-1", (0.422, 0.523, 0.516, 0.913)),
         ("American Shorthair-4", (0.505, 0.257, 0.609, 0.852)),
         ("American Shorthair-5", (0.606, 0.445, 0.71, 0.855)),
         ("Maine Coon-1", (0.696, 0.092, 0.819, 0.822)),
         ("American Shorthair-6", (0.808, 0.473, 0.886, 0.825))],
    ),
    Recorded(
        "cogvlm", Origin.OUTPUT, "CogAgent-9B, modelscope/ms-swift, a test of vision templates",
        "Action: Click on the 'Adobe Photoshop 2023' icon located in the middle of the screen to "
        "open the application.\nGrounded Operation: CLICK(box=[[346,574,424,710]], "
        "element_type='\u5361\u7247', element_info='Adobe Photoshop 2023')\n"
        "<<\u4e00\u822c\u64cd\u4f5c>>",
        [("", (0.346, 0.574, 0.424, 0.71))],
    ),
    Recorded(
        "cogvlm", Origin.OUTPUT, "CogVLM, zai-org/CogVLM issue 46",
        "[[097, 514, 283, 996]]", [("", (0.097, 0.514, 0.283, 0.996))],
    ),
    Recorded(
        "cogvlm", Origin.OUTPUT, "CogVLM, zai-org/CogVLM issue 165",
        "[[881,448,975,521]]", [("", (0.881, 0.448, 0.975, 0.521))],
    ),
    Recorded(
        "paligemma", Origin.OUTPUT,
        "PaliGemma 3B mix, modelscope/ms-swift, a test of vision templates",
        "<loc0000><loc0000><loc1022><loc1022> cat", [("cat", (0.0, 0.0, 1022 / 1024, 1022 / 1024))],
    ),
    Recorded(
        "molmo", Origin.OUTPUT, "GraspMolmo, abhaybd/GraspMolmo issue 2",
        'In order to accomplish the task "put green cylinder in the blue grid.", the optimal grasp '
        'is described as follows: "The grasp is on the midsection of the green cylinder. The '
        "fingers are pinching the cylinder from opposite sides, gripping the cylindrical surface "
        'around its center.".\n<point x="52.9" y="43.9" alt="Where to grasp the object">Where to '
        "grasp the object</point>",
        [("Where to grasp the object", (0.529, 0.439))],
    ),
    Recorded(
        "spatiallm", Origin.OUTPUT,
        "SpatialLM, room_output.txt of 2026-03-31 in the tests of a public parser (two walls and "
        "four boxes of it)",
        "wall_3=Wall(-1.0818035125732424,-2.268224000930786,0.08139145374298096,-3.506803512573242,"
        "-0.6432240009307861,0.08139145374298096,2.9600000000000004,0.0)\n"
        "wall_4=Wall(-3.556803512573242,-0.6432240009307861,0.08139145374298096,-3.506803512573242,"
        "-0.6432240009307861,0.08139145374298096,2.9600000000000004,0.0)\n"
        "bbox_0=Bbox(curtain,1.4931964874267578,-3.2182240009307863,1.556391453742981,-2.9747025,"
        "2.3125,0.09375,2.921875)\n"
        "bbox_5=Bbox(bed,-2.306803512573242,-0.39322400093078613,0.581391453742981,"
        "-2.8568925000000003,2.359375,2.390625,1.0)\n"
        "bbox_6=Bbox(chair,0.0931964874267579,0.2817759990692137,0.581391453742981,-2.5623675,"
        "0.765625,0.875,1.015625)\n"
        "bbox_7=Bbox(desk,0.6431964874267582,1.1067759990692139,0.606391453742981,"
        "-0.7854000000000001,1.140625,0.5,1.03125)",
        [("curtain", (1.493196, -3.218224, 1.556391, 2.3125, 0.09375, 2.921875, -2.9747025)),
         ("bed", (-2.306804, -0.393224, 0.581391, 2.359375, 2.390625, 1.0, -2.8568925)),
         ("chair", (0.093196, 0.281776, 0.581391, 0.765625, 0.875, 1.015625, -2.5623675)),
         ("desk", (0.643196, 1.106776, 0.606391, 1.140625, 0.5, 1.03125, -0.7854))],
    ),
    Recorded(
        "spatiallm", Origin.OUTPUT,
        'SpatialLM, the page "Future Extension Demo: Integrating SpatialLM for Layout Estimation '
        'from Video" (one wall and three boxes of it)',
        "wall_0=Wall(-8.207611340931601,0.34383346554858873,4.845816320890159,-4.407611340931602,"
        "0.34383346554858873,4.845816320890159,2.4800000000000004,0.0)\n"
        "bbox_0=Bbox(sofa,-4.957611340931602,3.1938334655485887,5.245816320890159,"
        "-1.5708000000000002,2.0625,1.03125,0.8125)\n"
        "bbox_4=Bbox(coffee_table,-6.307611340931602,3.143833465548589,5.295816320890159,"
        "-1.5708000000000002,1.1875,0.84375,0.9375)\n"
        "bbox_5=Bbox(side_table,-7.757611340931602,4.343833465548588,5.4458163208901595,-3.1416,"
        "0.5625,0.5625,1.21875)",
        [("sofa", (-4.957611, 3.193833, 5.245816, 2.0625, 1.03125, 0.8125, -1.5708)),
         ("coffee table", (-6.307611, 3.143833, 5.295816, 1.1875, 0.84375, 0.9375, -1.5708)),
         ("side table", (-7.757611, 4.343833, 5.445816, 0.5625, 0.5625, 1.21875, -3.1416))],
    ),
    Recorded(
        'qwen3-vl', Origin.SAMPLE, 'roboflow/supervision, supervision/detection/core.py',
        '```json\n[\n {"bbox_2d": [139, 768, 315, 954], "label": "cat"},\n {"bbox_2d": [366, '
        '679, 536, 849], "label": "dog"}\n]\n```',
        [('cat', (0.139, 0.768, 0.315, 0.954)), ('dog', (0.366, 0.679, 0.536, 0.849))],
    ),
    Recorded(
        'gemini', Origin.SAMPLE, 'roboflow/supervision, supervision/detection/core.py',
        '```json\n[\n {"box_2d": [543, 40, 728, 200], "label": "cat", "id": 1},\n {"box_2d": '
        '[653, 352, 820, 522], "label": "dog", "id": 2}\n]\n```',
        [('cat', (0.04, 0.543, 0.2, 0.728)), ('dog', (0.352, 0.653, 0.522, 0.82))],
    ),
    Recorded(
        'paligemma', Origin.SAMPLE, 'roboflow/supervision, supervision/detection/core.py',
        '<loc0256><loc0256><loc0768><loc0768> cat',
        [('cat', (0.25, 0.25, 0.75, 0.75))],
    ),
    Recorded(
        'gemini', Origin.OUTPUT,
        'Gemini, google-gemini/cookbook, Spatial_understanding (one of its boxes)',
        '{"box_2d": [353, 529, 522, 652], "label": "pink swirl topping with blue dots"}',
        [('pink swirl topping with blue dots', (0.529, 0.353, 0.652, 0.522))],
    ),
    Recorded(
        'kosmos-2', Origin.OUTPUT, 'Kosmos-2, huggingface/transformers, docs of Kosmos-2',
        '<grounding> An image of<phrase> a '
        'snowman</phrase><object><patch_index_0044><patch_index_0863></object> warming himself '
        'by<phrase> a fire</phrase><object><patch_index_0005><patch_index_0911></object>.',
        [('a snowman', (0.390625, 0.046875, 0.984375, 0.828125)),
         ('a fire', (0.171875, 0.015625, 0.484375, 0.890625))],
    ),
    Recorded(
        'florence-2', Origin.OUTPUT, 'Florence-2, huggingface/transformers.js, tests of Florence-2',
        '</s><s>car<loc_52><loc_332><loc_932><loc_774></s>',
        [('car', (0.0525, 0.3325, 0.9325, 0.7745))],
    ),
    Recorded(
        'florence-2', Origin.OUTPUT,
        'Florence-2 after its processor, outputs in a public README (two of the boxes)',
        "{'<DENSE_REGION_CAPTION>': {'bboxes': [[34.24, 160.07999999999998, 597.44, 371.76], "
        "[453.44, 276.71999999999997, 553.28, 370.8]], 'labels': ['turquoise Volkswagen "
        "Beetle', 'wheel']}}",
        [('turquoise Volkswagen Beetle', (0.03424, 0.32016, 0.59744, 0.74352)),
         ('wheel', (0.45344, 0.55344, 0.55328, 0.7416))],
    ),
    Recorded(
        'qwen2-vl', Origin.OUTPUT, 'Qwen2-VL, printed in a public script',
        '<|object_ref_start|>language '
        'switch<|object_ref_end|><|box_start|>(576,12),(592,42)<|box_end|><|im_end|>',
        [('language switch', (0.576, 0.012, 0.592, 0.042))],
    ),
    Recorded(
        'qwen2-vl', Origin.SAMPLE, 'a comment in public evaluation code',
        '<|object_ref_start|>birch '
        'tree<|object_ref_end|><|box_start|>(530,351),(602,516)<|box_end|><|box'
        '_start|>(176,106),(232,160)<|box_end|>',
        [('birch tree', (0.53, 0.351, 0.602, 0.516)), ('birch tree', (0.176, 0.106, 0.232, 0.16))],
    ),
    Recorded(
        'internvl', Origin.SAMPLE, 'public fine-tuning data for InternVL',
        '<ref>circle</ref><box>[[278,24,354,100],[515,10,611,106],[174,299,228,353]]</box>',
        [('circle', (0.278, 0.024, 0.354, 0.1)), ('circle', (0.515, 0.01, 0.611, 0.106)),
         ('circle', (0.174, 0.299, 0.228, 0.353))],
    ),
    Recorded(
        'internvl', Origin.SAMPLE, "a scene graph's caption in public code",
        'In the image, a tall red <ref>bus</ref><box>[[290, 202, 835, 851]]</box>',
        [('bus', (0.29, 0.202, 0.835, 0.851))],
    ),
    Recorded(
        'minigpt-v2', Origin.SAMPLE, "a grounded caption in a public repository's comment",
        '<p>A young man</p> {<8><0><62><91>} in <p>a suit</p> {<7><35><56><88>} at <p>his '
        'desk</p> {<0><85><100><100>}',
        [('A young man', (0.08, 0.0, 0.62, 0.91)), ('a suit', (0.07, 0.35, 0.56, 0.88)),
         ('his desk', (0.0, 0.85, 1.0, 1.0))],
    ),
    Recorded(
        'cogvlm', Origin.SAMPLE, 'an answer of GLM-4.5V in public evaluation code',
        '[816, 162, 838, 172]',
        [('', (0.816, 0.162, 0.838, 0.172))],
    ),
    Recorded(
        'cogvlm', Origin.OURS, 'the README of CogVLM',
        'A dog[[044,060,537,714]] beside a cat[[500,100,700,300;710,100,900,300]]',
        [('dog', (0.044, 0.06, 0.537, 0.714)), ('cat', (0.5, 0.1, 0.7, 0.3)),
         ('cat', (0.71, 0.1, 0.9, 0.3))],
    ),
    Recorded(
        'shikra', Origin.OURS, 'shikras/shikra, mllm/dataset/process_function',
        'Dog [0.039,0.018,0.378,0.768], man [0.100,0.310,0.670,0.653;0.7,0.1,0.8,0.2]',
        [('dog', (0.039, 0.018, 0.378, 0.768)), ('man', (0.1, 0.31, 0.67, 0.653)),
         ('man', (0.7, 0.1, 0.8, 0.2))],
    ),
    Recorded(
        'molmo', Origin.SAMPLE, 'allenai/molmo',
        '<point x="63.5" y="44.5" alt="Mt Rainier">Mt Rainier</point>',
        [('Mt Rainier', (0.635, 0.445))],
    ),
    Recorded(
        'molmo', Origin.SAMPLE, 'allenai/playground-ui, an answer of Molmo2',
        'Counting the <points coords="1 1 073 160 2 173 600 3 258 725 4 323 735 5 353 160" '
        'alt="boats">the boats</points> shows a total of 5.',
        [('boats', (0.073, 0.16)), ('boats', (0.173, 0.6)), ('boats', (0.258, 0.725)),
         ('boats', (0.323, 0.735)), ('boats', (0.353, 0.16))],
    ),
    Recorded(
        'molmo', Origin.OURS, 'allenai/molmo',
        '<points x1="22.7" y1="86.1" x2="45.1" y2="76.4" alt="cats">cats</points>',
        [('cats', (0.227, 0.861)), ('cats', (0.451, 0.764))],
    ),
    Recorded(
        'qwen3-vl', Origin.OURS, "Qwen3-VL's cookbooks",
        '{"point_2d": [331, 482], "label": "left knee"}',
        [('left knee', (0.331, 0.482))],
    ),
    Recorded(
        'gemini', Origin.OURS, "Gemini's documentation",
        '[{"point": [482, 331], "label": "left knee"}]',
        [('left knee', (0.331, 0.482))],
    ),
    Recorded(
        'qwen2.5-vl', Origin.OURS, "Qwen2.5-VL's cookbooks",
        '```json\n[\n\t{"bbox_2d": [252, 63, 504, 441], "label": "cat"},\n\t{"bbox_2d": [756, '
        '252, 1008, 504], "label": "dog"}\n]\n```',
        [('cat', (0.25, 0.125, 0.5, 0.875)), ('dog', (0.75, 0.5, 1.0, 1.0))],
    ),
    Recorded(
        'voc-xml', Origin.OURS, 'the format of Pascal VOC',
        '```xml\n'
        '<annotation><size><width>500</width><height>250</height></size><object'
        '><name>cat</name><bndbox><xmin>50</xmin><ymin>25</ymin><xmax>150</xmax'
        '><ymax>125</ymax></bndbox></object></annotation>\n```',
        [('cat', (0.1, 0.1, 0.3, 0.5))],
    ),
    Recorded(
        'markdown', Origin.OURS, 'a table of shares',
        'Here is what I see:\n\n| Object | x1 | y1 | x2 | y2 |\n|:---|---:|---:|---:|---:|\n| '
        'cat | 0.10 | 0.20 | 0.30 | 0.40 |\n| dog | 0.50 | 0.20 | 0.80 | 0.90 |\n',
        [('cat', (0.1, 0.2, 0.3, 0.4)), ('dog', (0.5, 0.2, 0.8, 0.9))],
    ),
    Recorded(
        'json-3d', Origin.OURS, "Qwen3-VL's cookbooks",
        '```json\n[\n\t{"bbox_3d":[1.5,-0.25,2.5,2.0,0.75,0.5,0,0,0.25],"label":"sofa"}\n]\n```',
        [('sofa', (1.5, -0.25, 2.5, 2.0, 0.75, 0.5, 0.785398))],
    ),
)  # fmt: skip
