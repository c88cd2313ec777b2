"""The model as MLServer wants it; runs in a venv with mlserver and onnxruntime."""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Onnx(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri, options)
        self.entry = self.session.get_inputs()[0].name
        self.exit = self.session.get_outputs()[0].name
        return True

    async def predict(self, payload):
        array = NumpyCodec.decode_input(payload.inputs[0]).astype("float32")
        out = self.session.run(None, {self.entry: array})[0]
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output(self.exit, out)]
        )
