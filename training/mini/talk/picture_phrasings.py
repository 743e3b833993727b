"""Phrasings of questions about pictures, and of questions that no medium answers."""

from __future__ import annotations

from training.mini.talk.grammar import CLOSERS, NUMBER, WORD, Grammar

# intent -> (cores, closers); {x} is filled in by the caller.
PICTURE_GRAMMARS: dict[str, Grammar] = {
    "identify": (
        (
            "what product is this?",
            "what is this?",
            "what do you see in the picture?",
            "what is shown here?",
            "which kind of clothing or accessory is it?",
            "what item is in the image?",
            "what am I looking at?",
            "can you name this product?",
            "what would you call this item?",
            "which product does the photo show?",
            "what kind of product is it?",
            "what type of item is this?",
            "how would you classify this product?",
        ),
        WORD,
    ),
    "classify": (
        (
            "which category does this product belong to: {x}?",
            "choose the right label from {x}.",
            "is this one of {x}? Which one?",
            "what is in the picture? Pick from {x}.",
            "classify the picture as one of {x}.",
            "of {x}, which does the image show?",
            "what does this picture show? Choose one of: {x}.",
            "which of these does the picture show: {x}?",
        ),
        ("", " Answer with the label."),
    ),
    "count": (
        (
            "how many products are there?",
            "how many items do you see?",
            "what is the number of products in the picture?",
            "count the items.",
            "how many things are in the image?",
            "count all products in the picture.",
            "how many items are in this picture?",
            "how many pieces can you count?",
            "what is the total number of items?",
            "how many objects are shown?",
        ),
        NUMBER,
    ),
    "count_class": (
        (
            "how many {x} are there?",
            "how many {x} do you see?",
            "count the {x}.",
            "what is the number of {x}?",
            "how many {x} are in the picture?",
            "can you count the {x}?",
        ),
        NUMBER,
    ),
    "detect": (
        (
            "list every product with its box.",
            "detect all products and give their boxes.",
            "where are the products? Give a box for each.",
            "find all items with their bounding boxes.",
            "locate every product in the picture.",
            "give the label and the box of each item.",
            "which products are there, and where? Use boxes.",
            "which items are in this picture, and where? Give a box for each.",
            "mark all items with bounding boxes.",
        ),
        ("", " From left to right.", " Use the format label [x1, y1, x2, y2]."),
    ),
    "locate": (
        (
            "where is the {x}?",
            "give the box of the {x}.",
            "find the {x} and give its box.",
            "what are the coordinates of the {x}?",
            "locate the {x}.",
            "can you point out the {x}?",
        ),
        CLOSERS,
    ),
    "colour": (
        (
            "what colour is the {x}?",
            "which colour does the {x} have?",
            "what is the colour of the {x}?",
            "tell me the colour of the {x}.",
            "in which colour is the {x}?",
            "what color is the {x}?",
        ),
        WORD,
    ),
    "its_colour": (
        (
            "what colour is it?",
            "and its colour?",
            "which colour does it have?",
            "what color is it?",
            "is there a colour you can name for it?",
            "and what colour would you say it is?",
        ),
        WORD,
    ),
    "exists": (
        (
            "is there {x} in the picture?",
            "do you see {x}?",
            "can you find {x} here?",
            "does the picture show {x}?",
            "is {x} among the items?",
            "any sign of {x}?",
        ),
        CLOSERS,
    ),
    "describe": (
        (
            "describe the picture.",
            "what is in the picture?",
            "what can be seen here?",
            "give a short description.",
            "write a caption for this picture.",
            "describe what you see.",
            "summarise the image in a sentence.",
        ),
        CLOSERS,
    ),
    "read": (
        (
            "what does it say?",
            "read the text.",
            "what word is written in this picture?",
            "what word is written here?",
            "which word do you see?",
            "what is written in the picture?",
            "can you read the word?",
            "transcribe the text.",
            "what does the sign say?",
            "what text is in the image?",
            "spell out the word in the picture.",
        ),
        WORD,
    ),
    "letters": (
        (
            "how many letters does the word have?",
            "how long is the word?",
            "count the letters of the word.",
            "of how many letters is the word made?",
        ),
        NUMBER,
    ),
    "first_letter": (
        (
            "what is the first letter of the word?",
            "with which letter does the word begin?",
            "which letter comes first?",
            "what letter does it start with?",
        ),
        CLOSERS,
    ),
    "unknown": (
        (
            "who made it?",
            "what brand is this?",
            "how much does it cost?",
            "where was the picture taken?",
            "when was this made?",
            "who owns it?",
            "how old is it?",
            "what is it made of, exactly?",
            "who took the picture?",
            "what does it weigh?",
            "is it expensive?",
            "where can I buy it?",
            "what is the weather like there?",
            "whose is it?",
        ),
        CLOSERS,
    ),
}
