// Activation and max-pooling of a block, and the way back.

struct Shape {
    // Entries to compute, one an invocation.
    entries: u32,
    c: u32,
    out_height: u32,
    out_width: u32,
    pooled_height: u32,
    pooled_width: u32,
    pool: u32,
    // Whether the activation is tanh, and not ReLU.
    tanh: u32,
    // Whether neurons have a bias.
    biased: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;

const LANES = 256u;

{{squash}}

// ---- forward: from projections (N x C) to the pooled map and the place of
// each maximum in its window, the first one in row order.
@group(0) @binding(1) var<storage, read> projections: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> pooled: array<f32>;
@group(0) @binding(4) var<storage, read_write> winners: array<u32>;
// gamma, beta and, where there is one, bias, C each.
@group(0) @binding(10) var<storage, read> learned: array<f32>;

@compute @workgroup_size(LANES)
fn pool(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let entry = id.y * groups.x * LANES + id.x;
    if (entry >= shape.entries) {
        return;
    }
    let channel = entry % shape.c;
    let cell = entry / shape.c;
    let x = cell % shape.pooled_width;
    let y = cell / shape.pooled_width % shape.pooled_height;
    let image = cell / (shape.pooled_width * shape.pooled_height);
    let corner = (image * shape.out_height + y * shape.pool) * shape.out_width + x * shape.pool;
    let factor = scale[channel];
    var shift = 0.0;
    if (shape.biased == 1u) {
        shift = learned[2u * shape.c + channel];
    }
    var best = -2.0;
    var winner = 0u;
    for (var dy = 0u; dy < shape.pool; dy++) {
        for (var dx = 0u; dx < shape.pool; dx++) {
            let at = corner + dy * shape.out_width + dx;
            let u = projections[at * shape.c + channel] * factor + shift;
            let response = select(max(0.0, u), squash(u), shape.tanh == 1u);
            if (response > best) {
                best = response;
                winner = dy * shape.pool + dx;
            }
        }
    }
    pooled[entry] = best;
    winners[entry] = winner;
}

// ---- backward: from the gradient by the normalised map to the gradient by
// the projections (N x C): where a position held its window's maximum, the slope
// of the activation times the gradient, elsewhere zero. `line` holds what
// normalisation makes of a gradient d at a pooled response z:
// line.a d + line.b z + line.e, C each.
@group(0) @binding(5) var<storage, read> pooled_before: array<f32>;
@group(0) @binding(6) var<storage, read> winners_before: array<u32>;
@group(0) @binding(7) var<storage, read> d_map: array<f32>;
@group(0) @binding(8) var<storage, read> line: array<f32>;
@group(0) @binding(9) var<storage, read_write> d_responses: array<f32>;

@compute @workgroup_size(LANES)
fn unpool(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let entry = id.y * groups.x * LANES + id.x;
    if (entry >= shape.entries) {
        return;
    }
    let channel = entry % shape.c;
    let position = entry / shape.c;
    let x = position % shape.out_width;
    let y = position / shape.out_width % shape.out_height;
    let image = position / (shape.out_width * shape.out_height);
    let cell_y = y / shape.pool;
    let cell_x = x / shape.pool;
    var gradient = 0.0;
    if (cell_y < shape.pooled_height && cell_x < shape.pooled_width) {
        let cell = (image * shape.pooled_height + cell_y) * shape.pooled_width + cell_x;
        let at = cell * shape.c + channel;
        let z = pooled_before[at];
        let place = y % shape.pool * shape.pool + x % shape.pool;
        if (winners_before[at] == place) {
            let c = shape.c;
            let slope = select(select(0.0, 1.0, z > 0.0), 1.0 - z * z, shape.tanh == 1u);
            let d = line[channel] * d_map[at] + line[c + channel] * z + line[2u * c + channel];
            gradient = slope * d;
        }
    }
    d_responses[entry] = gradient;
}
