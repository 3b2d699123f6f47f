"""Inference on the exported model with ONNX Runtime from Python."""

import numpy as np
import onnxruntime

import engine


def main():
    run = engine.Engine()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = run.n_threads, 1
    session = onnxruntime.InferenceSession(run.folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    log_mel = run.log_mel(None)
    score = lambda batch: session.run(["probabilities"], {"log_mel": batch})[0]
    seconds = run.time(lambda: score(log_mel[: run.batch]))
    batches = [score(log_mel[at : at + run.batch]) for at in range(0, len(log_mel), run.batch)]
    run.report(seconds, onnxruntime.__version__, probabilities=np.concatenate(batches).ravel().tolist())


if __name__ == "__main__":
    main()
