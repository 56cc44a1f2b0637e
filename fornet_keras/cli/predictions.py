"""The predictions that `evaluate` writes beside its scores, or in their place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from fornet_keras.cli.screen import counting
from fornet_keras.data.dataset import Dataset, Sample
from fornet_keras.data.images import read_image
from fornet_keras.prediction.protocol import Prediction, Predicts
from fornet_keras.prediction.submission import require_own_places, save_label_values


@dataclass(frozen=True)
class PredictionFolders:
    """Where predictions are to lie: the folders of `--save-predictions` and `--submission`, or None."""

    saved: Path | None
    submission: Path | None

    def __bool__(self) -> bool:
        return bool(self.saved or self.submission)

    def require_fit(self, data_format: str, config_file: Path) -> None:
        """Refuse two folders that are one, and a submission of data that no server takes."""
        if self.saved and self.submission and self.saved.resolve() == self.submission.resolve():
            raise click.UsageError("--save-predictions and --submission write the same files: two folders")
        if self.submission and data_format != "cityscapes":
            raise click.UsageError(
                f"--submission is of data in the layout of Cityscapes; {config_file} has data.format "
                f"{data_format}: --save-predictions DIR writes its label values"
            )

    def require_own_places(self, dataset: Dataset) -> None:
        """Refuse to replace a file."""
        for folder in filter(None, (self.saved, self.submission)):
            require_own_places(folder, dataset)

    def write(self, dataset: Dataset, sample: Sample, prediction: Prediction) -> None:
        """Write one prediction."""
        for folder, palette in ((self.saved, True), (self.submission, False)):
            if folder:
                save_label_values(folder, dataset, sample, prediction["label_ids"], palette)

    def write_all(self, dataset: Dataset, predictor: Predicts) -> None:
        """Write those of images without labels."""
        from fornet_keras.evaluation.evaluate import by_size

        with counting("predicting", len(dataset)) as advance:
            for sample in by_size(dataset, predictor.short_side):
                self.write(dataset, sample, predictor(read_image(sample.image)))
                advance()
        click.echo(f"no image of '{dataset.split}' has a label: predicted, not scored")

    def show(self) -> None:
        """Say where they are."""
        for kind, folder in (("predictions", self.saved), ("submission", self.submission)):
            if folder:
                click.echo(f"{kind}: {folder}")
