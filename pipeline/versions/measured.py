"""What a weights file makes of pictures whose masks are known."""

from pathlib import Path

import pandas as pd

from pipeline.core.errors import PipelineError
from sinet.core.recipe import EvaluateRecipe


def measured(pictures: pd.DataFrame, weights: Path, recipe: EvaluateRecipe) -> pd.DataFrame:
    """A row a picture with its four numbers in 0..1 (`Evaluation.rows`); `pictures` has id, image, mask (paths).

    PipelineError where weights or a picture cannot be used.
    """
    # Imported here, since torch takes seconds.
    from sinet.evaluation.protocol import EvaluateError, evaluate
    from sinet.images.sample import Sample
    from sinet.inference.predictor import Predictor
    from sinet.network.weights import WeightsError, read_weights

    columns = (pictures["id"], pictures["image"], pictures["mask"])
    samples = [Sample(one, Path(image), Path(mask)) for one, image, mask in zip(*columns, strict=True)]
    try:
        model, card = read_weights(weights)
        found = evaluate(Predictor(model, card.preprocessing), samples, recipe)
    except (WeightsError, EvaluateError) as error:
        raise PipelineError(str(error)) from error
    return pd.DataFrame(found.rows())
