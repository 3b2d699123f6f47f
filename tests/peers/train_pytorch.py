"""Training steps of the paper's network in PyTorch, eager, float32, written the fast way: windows folded into the
batch, channels last, modules of torch.nn."""

import torch
from torch import nn

import engine
from engine import BLOCKS, CLASSES, DROPOUT, EPSILON, HOP, KEEP, MOMENTUM, N_MELS, N_WINDOWS, RATE, UNITS, WINDOW


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        layers, maps = [], 1
        for n_maps, pool in BLOCKS:
            layers += [nn.Conv2d(maps, n_maps, 3, padding=1), nn.BatchNorm2d(n_maps, EPSILON, 1 - KEEP),
                       nn.ELU(inplace=True), nn.MaxPool2d(pool), nn.Dropout(DROPOUT)]
            maps = n_maps
        self.blocks = nn.Sequential(*layers)
        self.lstm = nn.LSTM(maps, UNITS, batch_first=True)
        self.dense = nn.Linear(UNITS, CLASSES)

    def forward(self, log_mel):
        windows = log_mel.unfold(2, WINDOW, HOP).transpose(1, 2).reshape(-1, 1, N_MELS, WINDOW)
        vectors = self.blocks(windows.contiguous(memory_format=torch.channels_last))
        vectors = vectors.flatten(1).view(len(log_mel), N_WINDOWS, -1)
        # One mask for all time steps, as Keras' LSTM(dropout=0.2).
        vectors = vectors * nn.functional.dropout(torch.ones_like(vectors[:, :1]), DROPOUT)
        return self.dense(self.lstm(vectors)[1][0][-1])


def main():
    run = engine.Engine()
    torch.set_num_threads(run.n_threads)
    torch.manual_seed(1)
    network = Network().to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(network.parameters(), RATE, MOMENTUM)
    log_mel, labels = torch.from_numpy(run.log_mel(run.batch)), torch.from_numpy(run.labels())
    losses = []

    def step():
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(network(log_mel), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())

    run.report(run.time(step), torch.__version__, last_loss=losses[-1])


if __name__ == "__main__":
    main()
