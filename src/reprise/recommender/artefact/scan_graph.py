"""The ONNX graph that runs the step of a network over many events in one call. Made from the step's graph when needed."""

from onnx import GraphProto, ModelProto, ValueInfoProto, helper

from reprise.recommender.runtime.onnx_session import STATE_IN, STATE_OUT


def scan_graph(step: bytes) -> bytes:
    """Return the graph of a step as the body of ONNX's operator Scan.

    The state of the step is the state of the scan. Every other input gets a first dimension for the events. The operators
    and the shapes of a single step do not change, so both graphs compute the same numbers, bit for bit.

    Args:
        step: ONNX graph of the step, as `export` writes it.
    """
    model = ModelProto.FromString(step)
    body, outputs = GraphProto(), {output.name: output for output in model.graph.output}
    body.CopyFrom(model.graph)
    states = [one for one in model.graph.input if one.name.startswith(STATE_IN)]
    per_event = [one for one in model.graph.input if not one.name.startswith(STATE_IN)]
    after = [outputs[STATE_OUT + one.name.removeprefix(STATE_IN)] for one in states]
    # the weights belong to the outer graph: then they are prepared once, and not for each call
    del body.initializer[:], body.input[:], body.output[:]
    body.input.extend([*states, *per_event])
    body.output.extend(after)
    before_scan, after_scan = [_renamed(one) for one in states], [_renamed(one) for one in after]
    sequences = [_per_event(one) for one in per_event]
    scan = helper.make_node(
        "Scan",
        [one.name for one in (*before_scan, *sequences)],
        [one.name for one in after_scan],
        body=body,
        num_scan_inputs=len(sequences),
    )
    graph = helper.make_graph(
        [scan], "scan", [*before_scan, *sequences], after_scan, initializer=model.graph.initializer
    )
    result: bytes = helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions
    ).SerializeToString()
    return result


def _renamed(value: ValueInfoProto) -> ValueInfoProto:
    """Return an input or output of the outer graph. Its name differs from that in the body, as ONNX requires."""
    outer = ValueInfoProto()
    outer.CopyFrom(value)
    outer.name = f"scan.{value.name}"
    return outer


def _per_event(value: ValueInfoProto) -> ValueInfoProto:
    """Return an input of the outer graph that holds the values of all events, [T, B, ...]."""
    outer = _renamed(value)
    dimensions = outer.type.tensor_type.shape.dim
    step = [*dimensions]
    del dimensions[:]
    dimensions.add(dim_param="events")
    dimensions.extend(step)
    return outer
