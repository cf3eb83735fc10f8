"""ImageNet: its training images of ILSVRC-2012, and the mean and deviation of their brightness, of
red, green and blue."""

IMAGES = 1_281_167
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
