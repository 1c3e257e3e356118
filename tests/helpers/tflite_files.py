"""Files of LiteRT made by hand, without its converter."""

import numpy as np


def tflite(description=b"Takes any number of samples.", custom=b"", weights=None, metadata=b""):
    """Return a file that multiplies rows with a matrix: one fully connected layer called ``head``.

    Args:
        description: what it says of itself.
        custom: the name of a custom operator that it calls instead.
        weights: the matrix, float32 (outputs, inputs); counting from 0, (3, 4), by default.
        metadata: what it carries along.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    weights = np.arange(12, dtype=np.float32).reshape(3, 4) if weights is None else weights
    model, graph, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    model.version, model.description = 3, description
    code.builtinCode = schema.BuiltinOperator.CUSTOM if custom else schema.BuiltinOperator.FULLY_CONNECTED
    code.deprecatedBuiltinCode, code.version, code.customCode = code.builtinCode, 1, custom or None
    model.operatorCodes = [code]
    model.buffers = [schema.BufferT(), schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.frombuffer(weights.tobytes(), np.uint8)
    model.buffers[2].data = np.frombuffer(metadata, np.uint8) if metadata else None
    if metadata:
        told = schema.MetadataT()
        told.name, told.buffer = b"author", 2
        model.metadata = [told]
    outputs, inputs = weights.shape
    tensors = (("args_0", (1, inputs), 0), ("head/weight", weights.shape, 1), ("y", (1, outputs), 0))
    graph.tensors = [_tensor(schema, *one) for one in tensors]
    operation = schema.OperatorT()
    operation.opcodeIndex, operation.inputs, operation.outputs = 0, [0, 1, -1], [2]
    if not custom:
        operation.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        operation.builtinOptions = schema.FullyConnectedOptionsT()
    graph.operators, graph.inputs, graph.outputs = [operation], [0], [2]
    model.subgraphs = [graph]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    signature.inputs, signature.outputs = _mapped(schema, b"args_0", 0), _mapped(schema, b"output_0", 2)
    model.signatureDefs = [signature]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _tensor(schema, name, shape, buffer):
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = name.encode(), list(shape), buffer
    tensor.type = schema.TensorType.FLOAT32
    return tensor


def _mapped(schema, name, index):
    mapped = schema.TensorMapT()
    mapped.name, mapped.tensorIndex = name, index
    return [mapped]
