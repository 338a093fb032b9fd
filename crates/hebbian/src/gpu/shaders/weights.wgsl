// What happens to weights (C x D): norms, updates, optimiser steps.

struct Shape {
    c: u32,
    d: u32,
    // Whether the forward pass divides by the norms.
    normalised: u32,
    // Neurons subtract their own weight, `own_rate` times the sum of their
    // gates, or else their denominator.
    own_gates: u32,
    own_rate: f32,
}

@group(0) @binding(0) var<uniform> shape: Shape;

{{rows}}

@group(0) @binding(1) var<storage, read> weights: array<f32>;

// ---- norms of the neurons' weights, and the scale of their projections.
@group(0) @binding(2) var<storage, read_write> norms: array<f32>;
@group(0) @binding(3) var<storage, read_write> scale: array<f32>;

@compute @workgroup_size(LANES)
fn weight_norms(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    own_lane = lane;
    let neuron = group.y * 32768u + group.x;
    var squares = 0.0;
    for (var i = lane; i < shape.d && neuron < shape.c; i += LANES) {
        let w = weights[neuron * shape.d + i];
        squares += w * w;
    }
    let norm = sqrt(row_sum(squares));
    if (lane == 0u && neuron < shape.c) {
        norms[neuron] = norm;
        scale[neuron] = select(1.0, 1.0 / norm, shape.normalised == 1u && norm != 0.0);
    }
}

// ---- W += lr dW with dW = numerators / denominators, where a denominator of
// zero counts as one. `sums` holds C denominators and C sums of gates.
@group(0) @binding(4) var<storage, read> sums: array<f32>;
@group(0) @binding(5) var<storage, read> numerators: array<f32>;
@group(0) @binding(6) var<uniform> rate: vec4<f32>;
@group(0) @binding(7) var<storage, read_write> learning: array<f32>;

fn update_of(entry: u32, w: f32) -> f32 {
    let neuron = entry / shape.d;
    let denominator = sums[neuron];
    let own = shape.own_rate * select(denominator, sums[shape.c + neuron], shape.own_gates == 1u);
    let numerator = numerators[entry] - own * w;
    return numerator / select(denominator, 1.0, denominator == 0.0);
}

@compute @workgroup_size(LANES)
fn apply(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let entry = id.y * groups.x * LANES + id.x;
    if (entry < shape.c * shape.d) {
        let w = learning[entry];
        learning[entry] = w + rate.x * update_of(entry, w);
    }
}

// ---- sums of the squares of dW and of W, in parts.
@group(0) @binding(8) var<storage, read_write> part_squares: array<f32>;

@compute @workgroup_size(LANES)
fn change(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    own_lane = lane;
    var of_update = 0.0;
    var of_weights = 0.0;
    for (var i = group.x * LANES + lane; i < shape.c * shape.d; i += groups.x * LANES) {
        let w = weights[i];
        let update = update_of(i, w);
        of_update += update * update;
        of_weights += w * w;
    }
    of_update = row_sum(of_update);
    of_weights = row_sum(of_weights);
    if (lane == 0u) {
        part_squares[group.x * 2u] = of_update;
        part_squares[group.x * 2u + 1u] = of_weights;
    }
}

// ---- the gradient by weights that the forward pass divides by their norms:
// v = w / |w|, dw = (dv - (dv . v) v) / |w|.
@group(0) @binding(9) var<storage, read> scale_before: array<f32>;
@group(0) @binding(10) var<storage, read_write> gradient: array<f32>;

@compute @workgroup_size(LANES)
fn through_norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    own_lane = lane;
    let neuron = group.y * 32768u + group.x;
    let start = neuron * shape.d;
    var along = 0.0;
    for (var i = lane; i < shape.d && neuron < shape.c; i += LANES) {
        along += gradient[start + i] * weights[start + i];
    }
    along = row_sum(along);
    if (neuron < shape.c) {
        let s = scale_before[neuron];
        along *= s * s;
        for (var i = lane; i < shape.d; i += LANES) {
            gradient[start + i] = s * (gradient[start + i] - along * weights[start + i]);
        }
    }
}
