"""Performance predictors behind the interface `metad2a_plugin.predictor.Predictor`, one module each."""
