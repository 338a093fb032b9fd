// Operations number by number.

struct Shape {
    entries: u32,
    // Parts to add up.
    parts: u32,
    alpha: f32,
    beta: f32,
    // Of weights: numbers of a patch, channels, neurons.
    d: u32,
    channels: u32,
    c: u32,
    // Where the sum of the parts starts.
    start: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;

const LANES = 256u;
const COLUMNS = 32u;

var<workgroup> lane_sums: array<f32, LANES>;

// ---- out = alpha (sum of the parts) + beta out. A workgroup adds up 32
// numbers, with 8 invocations each, in a fixed order.
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(LANES)
fn reduce(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let entry = (group.y * groups.x + group.x) * COLUMNS + lane % COLUMNS;
    var sum = 0.0;
    if (entry < shape.entries) {
        for (var part = lane / COLUMNS; part < shape.parts; part += LANES / COLUMNS) {
            sum += parts[part * shape.entries + entry];
        }
    }
    lane_sums[lane] = sum;
    workgroupBarrier();
    if (lane < COLUMNS && entry < shape.entries) {
        for (var i = 1u; i < LANES / COLUMNS; i++) {
            sum += lane_sums[i * COLUMNS + lane];
        }
        sum *= shape.alpha;
        if (shape.beta != 0.0) {
            sum += shape.beta * out[shape.start + entry];
        }
        out[shape.start + entry] = sum;
    }
}

// ---- out = parts times factors: dropout and its gradient.
@group(0) @binding(3) var<storage, read> factors: array<f32>;

@compute @workgroup_size(LANES)
fn multiply(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let entry = id.y * groups.x * LANES + id.x;
    if (entry < shape.entries) {
        out[entry] = parts[entry] * factors[entry];
    }
}

// ---- weights (C x D) times their scale, ordered kernel row, kernel column,
// neuron, channel: as the gradient by the input multiplies them.
@compute @workgroup_size(LANES)
fn turn(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let entry = id.y * groups.x * LANES + id.x;
    if (entry < shape.entries) {
        let channel = entry % shape.channels;
        let neuron = entry / shape.channels % shape.c;
        let place = entry / (shape.channels * shape.c);
        let from_entry = neuron * shape.d + place * shape.channels + channel;
        out[entry] = parts[from_entry] * factors[neuron];
    }
}

// ---- Nesterov momentum and weight decay:
// v = momentum v + g, w -= lr (g + momentum v), with g = gradient + decay w.
@group(0) @binding(4) var<storage, read_write> weights: array<f32>;
@group(0) @binding(5) var<storage, read_write> velocity: array<f32>;
// lr, momentum, decay
@group(0) @binding(6) var<uniform> settings: vec4<f32>;

@compute @workgroup_size(LANES)
fn descend(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let entry = id.y * groups.x * LANES + id.x;
    if (entry < shape.entries) {
        let w = weights[entry];
        let g = parts[entry] + settings.z * w;
        let v = settings.y * velocity[entry] + g;
        velocity[entry] = v;
        weights[entry] = w - settings.x * (g + settings.y * v);
    }
}
