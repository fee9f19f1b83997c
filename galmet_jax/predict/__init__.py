"""Prediction for anybody's galaxies.

from galmet_jax import predict

model = predict.Predictor.load("RUN")
table = model.predict(images)  # uint8 [N, S, S, 3] -> astropy Table
table = model.predict_catalog(catalog, images="FOLDER")
"""

from galmet_jax.predict.predictor import Predictor

__all__ = ["Predictor"]
