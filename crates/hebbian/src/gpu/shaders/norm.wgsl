// Batch normalisation of a map (rows x C) and its gradient.
//
// Sums over rows come in parts of `each` rows, one a workgroup and 64
// channels, merged in order.

struct Shape {
    rows: u32,
    c: u32,
    each: u32,
    parts: u32,
    // 1 in training: by the batch's statistics, which move the running ones.
    train: u32,
    // Bit 0 where the channels keep their relative variance, bit 1 where ReLU
    // follows.
    kind: u32,
    eps: f32,
    momentum: f32,
    // What the fresh values' share in the running ones is 0 below.
    forgotten: f32,
}

@group(0) @binding(0) var<uniform> shape: Shape;

const CHANNELS = 64u;
const ROWS = 4u;
const LANES = 256u;

var<workgroup> lane_values: array<f32, LANES>;

// Sum of `value` over the rows of a workgroup, for the channel of `lane`.
fn sum_rows(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    lane_values[lane] = value;
    workgroupBarrier();
    let channel = lane % CHANNELS;
    var sum = 0.0;
    for (var i = 0u; i < ROWS; i++) {
        sum += lane_values[i * CHANNELS + channel];
    }
    return sum;
}

// ---- a part's mean and sum of squared differences from it, C each.
@group(0) @binding(1) var<storage, read> z: array<f32>;
@group(0) @binding(2) var<storage, read_write> part_moments: array<f32>;

@compute @workgroup_size(LANES)
fn moments(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let channel = group.x * CHANNELS + lane % CHANNELS;
    let start = group.y * shape.each;
    let end = min(start + shape.each, shape.rows);
    let known = channel < shape.c;
    var sum = 0.0;
    for (var row = start + lane / CHANNELS; known && row < end; row += ROWS) {
        sum += z[row * shape.c + channel];
    }
    let mean = sum_rows(lane, sum) / f32(end - start);
    var squares = 0.0;
    for (var row = start + lane / CHANNELS; known && row < end; row += ROWS) {
        let difference = z[row * shape.c + channel] - mean;
        squares += difference * difference;
    }
    squares = sum_rows(lane, squares);
    if (known && lane < CHANNELS) {
        part_moments[group.y * 2u * shape.c + channel] = mean;
        part_moments[(group.y * 2u + 1u) * shape.c + channel] = squares;
    }
}

// ---- the parts together: running statistics, and of each channel the mean,
// reciprocal standard deviation, factor, scale and shift to normalise with.
@group(0) @binding(3) var<storage, read> parts: array<f32>;
// gamma and beta
@group(0) @binding(4) var<storage, read> learned: array<f32>;
// mean, unbiased variance, and the share of the fresh ones, 0 and 1, in them
@group(0) @binding(5) var<storage, read_write> running: array<f32>;
@group(0) @binding(6) var<storage, read_write> used: array<f32>;

@compute @workgroup_size(LANES)
fn merge(@builtin(local_invocation_index) lane: u32) {
    let c = shape.c;
    let left = running[2u * c] * (1.0 - shape.momentum);
    var start = running[2u * c];
    // Of the batches alone, once there was one.
    if (start == 1.0) {
        start = 0.0;
    }
    for (var i = lane; i < c; i += LANES) {
        var mean = running[i] / (1.0 - start);
        var variance = max((running[c + i] - start) / (1.0 - start), 0.0);
        if (shape.train == 1u) {
            // Chan, Golub and LeVeque 1979: moments of a union.
            mean = 0.0;
            var squares = 0.0;
            var count = 0.0;
            for (var part = 0u; part < shape.parts; part++) {
                let start = part * shape.each;
                let more = f32(min(start + shape.each, shape.rows) - start);
                let difference = parts[part * 2u * c + i] - mean;
                let total = count + more;
                mean += difference * more / total;
                squares += parts[(part * 2u + 1u) * c + i]
                    + difference * difference * count * more / total;
                count = total;
            }
            variance = squares / count;
            let unbiased = squares / max(count - 1.0, 1.0);
            running[i] += shape.momentum * (mean - running[i]);
            running[c + i] += shape.momentum * (unbiased - running[c + i]);
        }
        used[i] = mean;
        used[c + i] = 1.0 / sqrt(variance + shape.eps);
    }
    var sum = 0.0;
    for (var i = lane; i < c; i += LANES) {
        sum += running[c + i];
    }
    lane_values[lane] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            lane_values[lane] += lane_values[lane + half];
        }
        workgroupBarrier();
    }
    let mean_variance = lane_values[0] / f32(c);
    if (shape.train == 1u && lane == 0u) {
        running[2u * c] = select(left, 0.0, left < shape.forgotten);
    }
    for (var i = lane; i < c; i += LANES) {
        var factor = 1.0;
        if ((shape.kind & 1u) != 0u) {
            factor = sqrt((running[c + i] + shape.eps) / (mean_variance + shape.eps));
        }
        let scale = learned[i] * used[c + i] * factor;
        used[2u * c + i] = factor;
        used[3u * c + i] = scale;
        used[4u * c + i] = learned[c + i] * factor - used[i] * scale;
    }
}

// ---- the normalised map.
@group(0) @binding(7) var<storage, read> by: array<f32>;
@group(0) @binding(8) var<storage, read_write> map: array<f32>;

@compute @workgroup_size(LANES)
fn normalise(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let entry = id.y * groups.x * LANES + id.x;
    if (entry < shape.rows * shape.c) {
        let channel = entry % shape.c;
        let value = normalised(entry, channel);
        map[entry] = select(value, max(value, 0.0), (shape.kind & 2u) != 0u);
    }
}

fn normalised(entry: u32, channel: u32) -> f32 {
    return z[entry] * by[3u * shape.c + channel] + by[4u * shape.c + channel];
}

// ---- the gradient where ReLU follows: that by its input, to begin with.
@group(0) @binding(9) var<storage, read> d_map: array<f32>;

@compute @workgroup_size(LANES)
fn through_relu(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let entry = id.y * groups.x * LANES + id.x;
    if (entry < shape.rows * shape.c) {
        map[entry] = select(0.0, d_map[entry], normalised(entry, entry % shape.c) > 0.0);
    }
}

// ---- the gradient: a part's sums of d and of d xhat, C each.
@group(0) @binding(10) var<storage, read_write> part_sums: array<f32>;

@compute @workgroup_size(LANES)
fn gradient_sums(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let c = shape.c;
    let channel = group.x * CHANNELS + lane % CHANNELS;
    let start = group.y * shape.each;
    let end = min(start + shape.each, shape.rows);
    var sum = 0.0;
    var along = 0.0;
    if (channel < c) {
        let mean = by[channel];
        let inv_std = by[c + channel];
        for (var row = start + lane / CHANNELS; row < end; row += ROWS) {
            let d = d_map[row * c + channel];
            sum += d;
            along += d * (z[row * c + channel] - mean) * inv_std;
        }
    }
    sum = sum_rows(lane, sum);
    along = sum_rows(lane, along);
    if (channel < c && lane < CHANNELS) {
        part_sums[group.y * 2u * c + channel] = sum;
        part_sums[(group.y * 2u + 1u) * c + channel] = along;
    }
}

// ---- the parts together: gradients by gamma and beta, and the line
// a d + b z + e that the gradient by z lies on:
// dz = gamma factor / std (d - mean(d) - xhat mean(d xhat)).
@group(0) @binding(11) var<storage, read_write> d_learned: array<f32>;
@group(0) @binding(12) var<storage, read_write> line: array<f32>;

@compute @workgroup_size(LANES)
fn gradient_line(@builtin(global_invocation_id) id: vec3<u32>) {
    let c = shape.c;
    let i = id.x;
    if (i >= c) {
        return;
    }
    var sum = 0.0;
    var along = 0.0;
    for (var part = 0u; part < shape.parts; part++) {
        sum += parts[part * 2u * c + i];
        along += parts[(part * 2u + 1u) * c + i];
    }
    let mean = by[i];
    let inv_std = by[c + i];
    let factor = by[2u * c + i];
    let d_gamma = along * factor;
    let d_beta = sum * factor;
    d_learned[i] = d_gamma;
    d_learned[c + i] = d_beta;
    let gamma = learned[i];
    let rows = f32(shape.rows);
    let b = -gamma * inv_std * inv_std * d_gamma / rows;
    line[i] = gamma * factor * inv_std;
    line[c + i] = b;
    line[2u * c + i] = -gamma * inv_std * d_beta / rows - b * mean;
}
