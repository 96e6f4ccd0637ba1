"""Views: the crops of an image that a network sees.

    multicrop.py    several sizes (SwAV, SEER)                  draw.py         what is drawn for a view
    pair.py         two views (BYOL, Barlow Twins)              resample.py     a box, resized with antialiasing
    labelled.py     one view: training, evaluation              photometric.py  jitter, grayscale, blur, solarisation
    views.py        what an objective gets; normalisation       render.py       bytes of an image -> crops in a batch
                                                                colour.py       photometric.py for batches on the device

To add a way of pretraining views: one file with a class that derives from `RandomViews` (or from `Renderer`, where the
laws of draw.py do not say what you need), and in it a frozen keyword-only `Config` with a `name: Literal[...]` of its
own and a `build()`. Then list the config in `PretrainViews` below; recipes choose it by `views.name`. pair.py shows all
of it. What comes out are arrays (views, batch, size, size, 3), one for each run of views of equal size.
"""

from typing import Annotated

from pydantic import Field

from pipeline.views.labelled import Evaluation, Labelled
from pipeline.views.multicrop import Crops, MultiCrop
from pipeline.views.pair import Pair
from pipeline.views.render import RandomViews, Renderer
from pipeline.views.views import IMAGENET_MEAN, IMAGENET_STD, Views, normalise

PretrainViews = Annotated[MultiCrop.Config | Pair.Config, Field(discriminator="name")]
"""The config of any way of making views for pretraining."""

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Crops",
    "Evaluation",
    "Labelled",
    "MultiCrop",
    "Pair",
    "PretrainViews",
    "RandomViews",
    "Renderer",
    "Views",
    "normalise",
]
