"""One trial: train the proposed cell on scikit-learn's digits."""

import nni
from metad2a_plugin.adapters.nni import architecture_of

from metad2a_plugin import get_space
from metad2a_plugin.data import load_dataset
from metad2a_plugin.training import TrainConfig, train_architecture

config = TrainConfig(epochs=2, options={"channels": 4, "cells": 1}, input_size=16)
result = train_architecture(
    get_space("nasbench201"), architecture_of(nni.get_next_parameter()), load_dataset("sklearn:digits"), config
)
for epoch in result.history:
    nni.report_intermediate_result(epoch.accuracy)
nni.report_final_result(result.accuracy)
