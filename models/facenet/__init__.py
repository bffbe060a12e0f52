"""facenet-pytorch's networks on batches of tensors: MTCNN's cascade, InceptionResnetV1."""
