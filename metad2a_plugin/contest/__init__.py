"""From images to a trained network within a time: `run.auto`."""
