// The gates of a rule, and the sums over the rows that its update needs.
//
// A workgroup takes `each` rows, one after the other; a row is shared out
// among its invocations. The rule's part sees
//
//   c                  number of neurons
//   for (var i = lane(); i < c; i += LANES)   the neurons of an invocation
//   u(i)               projection of neuron i
//   weight_norm(i)     norm of its weights
//   patch_norm()       norm of the patch
//   squash(x)          hyperbolic tangent
//   row_max(x), row_sum(x)   over all invocations
//   keep(i, x), kept(i)      a number to be had again later
//   gate(i, a, share)  the gate and what it adds to neuron i's denominator
//
// and calls row_max, row_sum and patch_norm outside of loops over neurons.

struct Shape {
    rows: u32,
    c: u32,
    d: u32,
    each: u32,
    map_height: i32,
    map_width: i32,
    map_channels: i32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> projections: array<f32>;
@group(0) @binding(2) var<storage, read> weight_norms: array<f32>;
@group(0) @binding(3) var<storage, read> map: array<f32>;
@group(0) @binding(4) var<storage, read_write> gates: array<f32>;
// For each workgroup: C denominators, then C sums of gates.
@group(0) @binding(5) var<storage, read_write> sums: array<f32>;

var<private> row: u32;
var<private> own_sums: u32;

{{rows}}
{{patches}}
{{constants}}

fn lane() -> u32 {
    return own_lane;
}

fn u(i: u32) -> f32 {
    return projections[row * shape.c + i];
}

fn weight_norm(i: u32) -> f32 {
    return weight_norms[i];
}

fn patch_norm() -> f32 {
    let place = patch_rows[row];
    var squares = 0.0;
    for (var i = own_lane; i < shape.d; i += LANES) {
        let entry = patch_entry(place, patch_columns[i]);
        squares += entry * entry;
    }
    return sqrt(row_sum(squares));
}

fn keep(i: u32, value: f32) {
    gates[row * shape.c + i] = value;
}

fn kept(i: u32) -> f32 {
    return gates[row * shape.c + i];
}

fn gate(i: u32, a: f32, share: f32) {
    gates[row * shape.c + i] = a;
    sums[own_sums + i] += share;
    sums[own_sums + shape.c + i] += a;
}

// Reciprocal of a norm; 1 for a norm of zero.
fn inverse(norm: f32) -> f32 {
    return select(1.0 / norm, 1.0, norm == 0.0);
}

{{squash}}

fn gate_row() {
    let c = shape.c;
{{rule}}
}

@compute @workgroup_size(LANES)
fn gate_rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // A rule need not read all there is; a binding that nothing reads would
    // not exist.
    _ = &weight_norms;
    _ = &map;
    _ = &patch_rows;
    _ = &patch_columns;
    own_lane = lane;
    own_sums = group.x * 2u * shape.c;
    // What belongs to neuron i only invocation i % LANES writes and reads.
    for (var i = lane; i < shape.c; i += LANES) {
        sums[own_sums + i] = 0.0;
        sums[own_sums + shape.c + i] = 0.0;
    }
    let end = min((group.x + 1u) * shape.each, shape.rows);
    for (var r = group.x * shape.each; r < end; r++) {
        row = r;
        gate_row();
    }
}
