"""Networks: one ResNet from parts, its layers, pretrained weights."""
