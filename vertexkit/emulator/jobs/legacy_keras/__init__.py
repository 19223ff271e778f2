"""What makes ``import keras`` mean Keras 2 in jobs whose image shipped it."""
