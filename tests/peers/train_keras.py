"""Training steps of the paper's network in Keras on TensorFlow, with TimeDistributed layers as in the paper."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow
from keras import layers

import engine
from engine import BLOCKS, CLASSES, DROPOUT, EPSILON, HOP, KEEP, MOMENTUM, N_MELS, N_WINDOWS, RATE, UNITS, WINDOW


def network():
    each = layers.TimeDistributed
    x = windows = keras.Input((N_WINDOWS, N_MELS, WINDOW, 1))
    for n_maps, pool in BLOCKS:
        x = each(layers.Conv2D(n_maps, 3, padding="same"))(x)
        x = each(layers.BatchNormalization(momentum=KEEP, epsilon=EPSILON))(x)
        x = each(layers.Activation("elu"))(x)
        x = each(layers.MaxPooling2D(pool))(x)
        x = each(layers.Dropout(DROPOUT))(x)
    x = layers.LSTM(UNITS, dropout=DROPOUT)(each(layers.Flatten())(x))
    model = keras.Model(windows, layers.Dense(CLASSES, activation="softmax")(x))
    model.compile(keras.optimizers.SGD(RATE, MOMENTUM), "sparse_categorical_crossentropy")
    return model


def main():
    run = engine.Engine()
    tensorflow.config.threading.set_intra_op_parallelism_threads(run.n_threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(1)
    log_mel, labels = run.log_mel(run.batch), run.labels()
    windows = np.stack([log_mel[:, :, w * HOP : w * HOP + WINDOW] for w in range(N_WINDOWS)], axis=1)[..., None]
    model = network()
    losses = []
    # The first step also builds the graph. Steps take many seconds, so few are timed.
    seconds = run.time(lambda: losses.append(float(model.train_on_batch(windows, labels))), warm_up=1, at_least=1)
    run.report(seconds, f"{keras.__version__} on TensorFlow {tensorflow.__version__}", last_loss=losses[-1])


if __name__ == "__main__":
    main()
