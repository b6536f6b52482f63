"""Performance predictors behind the interface `metad2a_plugin.plugins.predictor.Predictor`, one module each."""
