"""The model as KServe's Python server wants it: `python kserve_model.py FILE PORT`; runs in a venv
with kserve and onnxruntime."""

import sys

import onnxruntime
from kserve import InferOutput, InferResponse, Model, ModelServer


class Onnx(Model):
    def __init__(self, file):
        super().__init__("digits")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(file, options)
        self.entry = self.session.get_inputs()[0].name
        self.exit = self.session.get_outputs()[0].name
        self.ready = True

    def predict(self, payload, *_args, **_named):
        array = payload.inputs[0].as_numpy().astype("float32")
        out = self.session.run(None, {self.entry: array})[0]
        told = InferOutput(self.exit, list(out.shape), "FP32")
        told.set_data_from_numpy(out, binary_data=False)
        return InferResponse(payload.id or "1", "digits", [told])


if __name__ == "__main__":
    server = ModelServer(http_port=int(sys.argv[2]), workers=1, enable_grpc=False)
    server.start([Onnx(sys.argv[1])])
