"""SINet as ONNX, as OpenVINO and in 8 bits, each compared with torch."""
