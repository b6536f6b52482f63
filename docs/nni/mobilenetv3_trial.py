"""One trial: the predicted ImageNet accuracy of the proposed network."""

import nni
from metad2a_plugin.adapters.nni import architecture_of

from metad2a_plugin import get_predictor, get_space

network = architecture_of(nni.get_next_parameter())
predictor = get_predictor("ofa-imagenet")(get_space("mobilenetv3"))
nni.report_final_result(float(predictor.predict(None, [network]).mean[0]))
