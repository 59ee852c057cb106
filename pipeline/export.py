"""Export SINet to models/sinet.onnx, and compare it with torch on a few of the dataset's dev pictures."""

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core.errors import PipelineError
from pipeline.core.params import ExportParams, load_params
from pipeline.core.paths import DATASET, SINET, SINET_ONNX
from pipeline.core.records import read_records
from pipeline.core.stage import run, write_metrics


def export(records: pd.DataFrame, weights: Path, out: Path, params: ExportParams) -> dict[str, Any]:
    """Write `out`; return max_difference (of a logit), bytes, operators, pictures; raises where it differs.

    A file that differs from torch by more than `params.tolerance` is not kept.
    """
    # Imported here, since torch takes seconds and a wrong params.yaml should be told at once.
    from sinet.exporting.to_onnx import ExportError, check_parity, difference, export_onnx, until_compared
    from sinet.images.decode import read_image
    from sinet.inference.predictor import Predictor
    from sinet.network.weights import WeightsError, read_weights

    # The records are sorted by id, a hash: the first few are as good as any, and stay when others come.
    pictures = records[records["side"] == "dev"]["image"].head(params.parity_pictures)
    if pictures.empty:
        raise PipelineError(
            "expected dev pictures to compare ONNX with torch on, found none; raise split.dev_share"
        )
    images = [read_image(Path(picture)) for picture in pictures]
    try:
        model, card = read_weights(weights)
        with until_compared(out) as written:
            proto = export_onnx(written, model, card, params.opset)
            largest = difference(written, Predictor(model, card.preprocessing), images)
            check_parity(out, largest, params.tolerance, len(images))
    except WeightsError as error:
        raise PipelineError(str(error)) from error
    except ExportError as error:
        raise PipelineError(f"{error}. Try another export.opset") from error
    return {
        "max_difference": float(f"{largest:.1e}"),
        "pictures": len(images),
        "bytes": out.stat().st_size,
        "operators": len(proto.graph.node),
    }


def main() -> None:
    """Run the stage."""
    write_metrics("export", export(read_records(DATASET), SINET, SINET_ONNX, load_params().export))


if __name__ == "__main__":
    run("export", main)
